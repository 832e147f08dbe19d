package main

import (
	"fmt"
	"io"

	"github.com/alecthomas/kong"

	"github.com/goclip/goclip/cmd/internal/manual"
)

// describe prints what can be told of the command line without a run.
func (c *commandLine) describe(out io.Writer, app *kong.Application) int {
	text := ""
	if c.Man {
		text = manual.Page(app, about())
	} else {
		text = manual.Completion(c.Completion, app, manual.CLIPWords())
	}
	if _, err := fmt.Fprint(out, text); err != nil {
		return 1
	}
	return 0
}

func about() manual.About {
	return manual.About{
		Summary: "fine-tune a CLIP on images with captions, or train one from nothing", Version: version(), Date: manual.BuildDate(),
		Exit: []manual.Entry{
			{Name: "0", Text: "Done."},
			{Name: "1", Text: "Something failed while running, as stderr says."},
			{Name: "2", Text: "The command line is wrong."},
			{Name: "130", Text: "Interrupted (SIGINT, SIGTERM, SIGHUP); the checkpoint was written."},
		},
		Environment: append(manual.CacheEnvironment(), manual.Entry{Name: "GOCLIP_BATCH_SIZE, ...",
			Text: "Any flag, by its name in capitals. The command line wins over it, and it wins over --config."}, manual.Entry{Name: "RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT",
			Text: "Which of several processes this one is, as torchrun sets them; Slurm's own variables are read too."}),
		Files: []manual.Entry{
			{Name: "LOGS/NAME/checkpoints/latest", Text: "The model directory of the run's newest checkpoint, for infer and for open_clip."},
			{Name: "LOGS/NAME/metrics.jsonl, results.jsonl, out.log, params.txt, config.yaml", Text: "A line per step, a line per evaluation, the log, and the options; the last is a file for --config."},
		},
		SeeAlso: []string{"infer(1)"},
	}
}
