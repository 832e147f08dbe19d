package main

import (
	"slices"
	"strings"
)

// carried is what becomes of a flag of open_clip's that goclip has no use for.
type carried struct {
	accepted bool   // and noted in the log; else refused
	value    bool   // it takes one
	says     string // why it makes no difference, or what to do instead
}

// openCLIPOnly are the flags of open_clip 3.3.0 (open_clip_train/params.py) that are none of ours.
// docs/training.md has all of them.
var openCLIPOnly = map[string]carried{
	"val-num-samples":    {true, true, "an evaluation counts the samples it reads"},
	"log-local":          {true, false, "process 0 writes the log, those of other processes end on stderr"},
	"momentum":           {true, true, "of timm's optimisers; AdamW has none, in open_clip either"},
	"local-loss":         {true, false, "each process computes its own rows and columns of the similarities in any case"},
	"gather-with-grad":   {true, false, "the gradient is that of the whole batch in any case"},
	"loss-dist-impl":     {true, true, "the sigmoid loss of the whole batch is the same, however its features are exchanged"},
	"force-custom-text":  {true, false, "the towers are separate in any case; checkpoints load in open_clip either way"},
	"torchscript":        {true, false, "there is no interpreter to leave"},
	"torchcompile":       {true, false, "there is no interpreter to leave; --cuda-graphs captures a step on a GPU"},
	"ddp-static-graph":   {true, false, "gradients are summed while backward runs in any case"},
	"wandb-notes":        {true, true, "of Weights & Biases, which --report-to does not speak to"},
	"wandb-project-name": {true, true, "of Weights & Biases, which --report-to does not speak to"},
	"debug":              {true, false, "the log says all there is to say in any case"},
	"copy-codebase":      {true, false, "the program is one file; config.yaml names its version"},

	"imagenet-v2":                  {false, true, "evaluate a checkpoint on it alone: infer eval --data takes any folder of classes, and so does --imagenet-val"},
	"pretrained-image":             {false, false, "name the image tower's weights with --pretrained-image-path"},
	"use-bn-sync":                  {false, false, "each process keeps its own batch statistics, as open_clip does without it; a ViT has none"},
	"trace":                        {false, false, "open_clip cannot train a traced model either; drop it"},
	"horovod":                      {false, false, "start the processes with --nproc-per-node, torchrun or srun"},
	"no-set-device-rank":           {false, false, "give --device cuda:0, the one device that each process sees"},
	"use-bnb-linear":               {false, true, "train in --precision bf16; infer and serve have --precision int8"},
	"coca-caption-loss-weight":     {false, true, "CoCa is not trained here; the contrastive loss has no weight"},
	"coca-contrastive-loss-weight": {false, true, "CoCa is not trained here; the contrastive loss has no weight"},
	"remote-sync":                  {false, true, "copy the run's directory beside it (aws s3 sync, rclone): each checkpoint is whole under its name"},
	"remote-sync-frequency":        {false, true, "of --remote-sync"},
	"remote-sync-protocol":         {false, true, "of --remote-sync"},
}

// carryOver takes open_clip's own flags out of a command line. notes say why those that are
// accepted make no difference, faults what to do in place of the others.
func carryOver(args []string) (rest, notes, faults []string) {
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		flag, is := strings.CutPrefix(name, "--")
		c, known := openCLIPOnly[flag]
		if !is || !known {
			rest = append(rest, args[i])
			continue
		}
		if c.value && !joined && i+1 < len(args) {
			i++
		}
		if !c.value && slices.Contains([]string{"false", "False", "0", "no"}, value) {
			continue
		}
		if c.accepted {
			notes = append(notes, name+" is accepted and changes nothing: "+c.says)
		} else {
			faults = append(faults, name+" is a flag of open_clip that goclip does not have: "+c.says)
		}
	}
	slices.Sort(notes)
	return rest, slices.Compact(notes), faults
}
