// Command train fine-tunes a CLIP on pictures with captions, or trains one from nothing.
//
// Flags carry open_clip's names and meanings. Exit status: 0 done, 1 something failed while
// running, 2 the command line is wrong, 130 interrupted (the checkpoint was written).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
)

const description = `Fine-tune a CLIP on pictures with captions, or train one from nothing.

A fine-tuning of a directory's model on a table with the columns filepath and title:

  train --model DIR --train-data photos.csv --csv-separator , --epochs 5 --name photos

The same from published weights, first without a step, to see what it takes; and a model of one's own from shards:

  train --model ViT-B-32 --pretrained openai --train-data photos.csv --csv-separator , --dry-run
  train --model ViT-S-32 --train-data 'shards/{00000..00099}.tar' --batch-size 256 --nproc-per-node 2 --name own

The run writes LOGS/NAME/: checkpoints/latest is a model directory for infer, metrics.jsonl has a line per step.
Ctrl-C finishes the step and writes checkpoints/latest; the same command line with --resume latest continues.`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

type commandLine struct {
	options
	launchFlags
	Version    kong.VersionFlag `help:"Say which goclip this is."`
	Completion string           `help:"Print the completion of the command line for bash, zsh or fish." placeholder:"SHELL" enum:",bash,zsh,fish" default:""`
	Man        bool             `help:"Print the man page." hidden:""`
}

func run(args []string, out io.Writer, errs *os.File) int {
	var c commandLine
	exit := -1
	parser, err := kong.New(&c, kong.Name("train"), kong.Description(description), kong.Writers(out, errs),
		kong.Exit(func(code int) { exit = code }), kong.Vars{"version": version()},
		kong.WithHyphenPrefixedParameters(true)) // --warmup -1
	if err != nil {
		fmt.Fprintln(errs, "train:", err)
		return 1
	}
	if name := refused(args); name != "" {
		fmt.Fprintf(errs, "train: %s is a flag of open_clip that goclip does not have\n", name)
		return 2
	}
	parsed, err := parser.Parse(joinLists(args))
	if exit >= 0 { // --help or --version has been printed
		return exit
	}
	if err != nil {
		fmt.Fprintf(errs, "train: %s; train --help lists the flags\n", oneLine(err))
		return 2
	}
	if c.Completion != "" || c.Man {
		return c.describe(out, parser.Model)
	}
	if c.launchFlags.wanted() {
		return c.launchAll(args, given(parsed), out, errs)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	err = c.train(ctx, given(parsed), out, errs)
	switch {
	case errors.Is(err, train.ErrInterrupted):
		return 130
	case errors.Is(err, train.ErrConfig):
		fmt.Fprintf(errs, "%s; train --help lists the flags\n", message(err))
		return 2
	case err != nil:
		fmt.Fprintln(errs, message(err))
		return 1
	}
	return 0
}

// train is the command's work, once its flags are read.
func (o *options) train(ctx context.Context, given func(flag string) bool, out io.Writer, errs *os.File) (err error) {
	began := time.Now()
	if err := o.check(o.config(given)); err != nil {
		return err
	}
	group, device, err := o.join(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && !errors.Is(err, train.ErrInterrupted) {
			err = group.Fail(err)
		}
		if closeErr := group.Close(); err == nil {
			err = closeErr
		}
	}()
	if (o.DryRun || o.Overfit > 0) && group.Size() > 1 {
		return refusal("--dry-run and --overfit are for one process; drop --nproc-per-node")
	}
	torch.SetNumThreads(o.Threads)
	if err := o.agree(group); err != nil {
		return err
	}
	log, bar := logTo(errs)
	c := o.config(given)
	c.Group, c.Log = group, log
	if note := torch.FellBack(o.Device, device); note != "" {
		c.Notes = append(c.Notes, note)
	}
	t, err := o.open(ctx, c, device, pretrained.Lines(errs, "train: "))
	if ctx.Err() != nil && err != nil {
		return train.ErrInterrupted
	}
	if err != nil || o.Overfit > 0 {
		return err
	}
	defer func() {
		if closeErr := t.Close(); err == nil {
			err = closeErr
		}
	}()
	if o.DryRun {
		plan, err := t.Plan()
		if err == nil {
			fmt.Fprint(out, plan)
		}
		return err
	}
	for s, err := range t.Steps(ctx) {
		if err != nil {
			return err
		}
		if bar != nil && group.Rank() == 0 {
			bar.step(s, t.Summary().Total)
		}
	}
	sum := t.Summary()
	err = t.Close()
	if err == nil {
		fmt.Fprintf(errs, "train: %d steps in %.0f s, the last loss %.4f, MFU %.1f%%; %d pictures could not be read; %s/checkpoints/latest holds the model\n",
			sum.Steps, time.Since(began).Seconds(), sum.Loss, 100*sum.MFU, len(sum.Bad), sum.Dir)
	}
	return err
}

// given tells which flags stand on the command line.
func given(parsed *kong.Context) func(flag string) bool {
	return func(flag string) bool {
		return slices.ContainsFunc(parsed.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == flag })
	}
}

// release is the version that scripts/release.sh gives at link time.
var release string

// version is what a release, go install or the checkout's commit gave the binary.
func version() string {
	if release != "" {
		return "goclip " + release
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return "goclip " + info.Main.Version
	}
	return "goclip"
}

// message is an error as one line that begins with the command's name, once.
func message(err error) string { return "train: " + strings.TrimPrefix(oneLine(err), "train: ") }

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// logTo prints the log's lines and, on a terminal, has a bar drawn below them.
func logTo(errs *os.File) (io.Writer, *progress) {
	if !term.IsTerminal(int(errs.Fd())) {
		return errs, nil
	}
	p := &progress{errs: errs}
	return p, p
}

// progress is a bar on a terminal; a bar that cannot be drawn loses nothing.
type progress struct {
	errs io.Writer
	bar  *progressbar.ProgressBar
}

func (p *progress) step(s train.Step, total int) {
	if p.bar == nil {
		p.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(p.errs), progressbar.OptionSetWidth(30),
			progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionOnCompletion(func() { fmt.Fprintln(p.errs) }))
	}
	p.bar.Describe(fmt.Sprintf("loss %.3f (guessing %.3f) %4.0f pictures/s", s.Loss, math.Log(s.SamplesPerSecond*s.StepTime), s.SamplesPerSecond))
	_ = p.bar.Set(s.Step)
}

// Write prints a line of the log where the bar was; the next step draws the bar anew.
func (p *progress) Write(line []byte) (int, error) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	return p.errs.Write(line)
}
