// Command train fine-tunes a CLIP on pictures with captions, or trains one from nothing.
//
// Flags carry open_clip's names and meanings. Exit status: 0 done, 1 something failed while running, 2 the command line
// is wrong, 130 interrupted (the checkpoint was written).
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/goclip/goclip/train"
)

const description = `Fine-tune a CLIP on pictures with captions, or train one from nothing.

A fine-tuning of a directory's model on a table with the columns filepath and title:

  train --model DIR --train-data photos.csv --csv-separator , --lr 1e-5 --epochs 5 --name photos

The run writes LOGS/NAME/: checkpoints/latest is a model directory for infer, metrics.jsonl has a line per step.`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var options train.Options
	parser, err := kong.New(&options, kong.Name("train"), kong.Description(description))
	if err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		return 1
	}
	if name := refused(args); name != "" {
		fmt.Fprintf(os.Stderr, "train: %s is a flag of open_clip that goclip does not have\n", name)
		return 2
	}
	if _, err := parser.Parse(args); err != nil {
		fmt.Fprintf(os.Stderr, "train: %v; train --help lists the flags\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	sum, err := train.Run(ctx, options, reporter())
	switch {
	case errors.Is(err, train.ErrInterrupted):
		return 130
	case errors.Is(err, train.ErrOptions):
		fmt.Fprintln(os.Stderr, message(err))
		return 2
	case err != nil:
		fmt.Fprintln(os.Stderr, message(err))
		return 1
	}
	fmt.Fprintf(os.Stderr, "train: %d steps in %.0f s, the last loss %.4f; %d pictures could not be read; %s/checkpoints/latest holds the model\n",
		sum.Steps, sum.Duration.Seconds(), sum.Loss, len(sum.Bad), sum.Dir)
	return 0
}

// message is an error as one line.
func message(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if !strings.HasPrefix(text, "train: ") {
		text = "train: " + text
	}
	return text
}

// reporter draws a bar on a terminal and prints the log's lines elsewhere.
func reporter() train.Reporter {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return train.Reporter{Log: os.Stderr}
	}
	var bar *progressbar.ProgressBar
	return train.Reporter{Step: func(s train.Step, total int) {
		if bar == nil {
			bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetWidth(30),
				progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionOnCompletion(func() { fmt.Fprintln(os.Stderr) }))
		}
		bar.Describe(fmt.Sprintf("loss %.3f (guessing %.3f) %4.0f pictures/s", s.Loss, math.Log(s.SamplesPerSecond*s.StepTime), s.SamplesPerSecond))
		_ = bar.Set(s.Step) // a bar that cannot be drawn loses nothing
	}}
}
