package main

import (
	"slices"
	"strings"
)

// openCLIPOnly are flags of open_clip (open_clip_train/params.py) that goclip does not have. They
// are refused by name, never ignored.
var openCLIPOnly = strings.Fields(`val-num-samples imagenet-v2 cache-dir force-custom-text
	pretrained-image momentum opt-kwargs use-bn-sync torchcompile torchscript
	trace use-bnb-linear ddp-static-graph no-set-device-rank horovod local-loss gather-with-grad
	loss-dist-impl coca-caption-loss-weight coca-contrastive-loss-weight
	remote-sync remote-sync-frequency remote-sync-protocol wandb-notes wandb-project-name
	debug copy-codebase log-local`)

// refused is the first such flag among args.
func refused(args []string) string {
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		if flag, ok := strings.CutPrefix(name, "--"); ok && slices.Contains(openCLIPOnly, flag) {
			return name
		}
	}
	return ""
}
