// Command train fine-tunes a CLIP model on images with captions, or trains one from random weights.
//
// Flags carry open_clip's names and meanings. Exit status: 0 done, 1 something failed while
// running, 2 the command line is wrong, 130 interrupted (the checkpoint was written).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	_ "github.com/goclip/goclip/cmd/internal/heap"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
)

const description = `Fine-tune a CLIP model on images with captions, or train one from random weights.

Fine-tune the built-in model on a table with the columns filepath and title:

  train --model emoji-64 --train-data photos.csv --epochs 5 --name photos

The same from published weights, first without a step, to see what it takes; and a model of your own from shards:

  train --model ViT-B-32 --pretrained openai --train-data photos.csv --dry-run
  train --model ViT-S-32 --train-data 'shards/{00000..00099}.tar' --batch-size 256 --nproc-per-node 2 --name own

The run writes LOGS/NAME/: checkpoints/latest is a model directory for infer, metrics.jsonl has a line per step.
Ctrl-C finishes the step and writes checkpoints/latest; train --resume latest --name NAME continues.`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

type commandLine struct {
	options
	launchFlags
	Config     string           `help:"YAML file of flags (batch-size: 64). The environment (GOCLIP_BATCH_SIZE) overrides it, and the command line overrides both. Each run writes one, LOGS/NAME/config.yaml." placeholder:"FILE" group:"usual"`
	Version    kong.VersionFlag `help:"Print the version." group:"about"`
	Completion string           `help:"Print the completion of the command line for bash, zsh or fish." placeholder:"SHELL" enum:",bash,zsh,fish" default:"" group:"about"`
	Man        bool             `help:"Print the man page." hidden:""`

	notes  []string // of open_clip's flags that change nothing
	faults []string // of those that are refused
}

func run(args []string, out io.Writer, errs *os.File) int {
	var c commandLine
	exit := -1
	parser, err := newParser(&c, out, errs, func(code int) { exit = code })
	if err != nil {
		fmt.Fprintln(errs, "train:", err)
		return 1
	}
	args, ambient, err := withSettings(joinLists(args), os.Environ())
	if err != nil {
		fmt.Fprintf(errs, "train: %s; train --help lists the flags\n", oneLine(err))
		return 2
	}
	ours, notes, faults := carryOver(args)
	c.notes, c.faults = notes, faults
	parsed, err := parser.Parse(ours)
	if exit >= 0 { // --help or --version has been printed
		return exit
	}
	if err != nil {
		fmt.Fprintf(errs, "train: %s; train --help lists the flags\n", strings.Join(append(faults, oneLine(err)), "; "))
		return 2
	}
	if c.Completion != "" || c.Man {
		return c.describe(out, parser.Model)
	}
	c.likeOpenCLIP(given(parsed))
	if err := c.fromCheckpoint(meantFor(given(parsed), ambient)); err != nil {
		fmt.Fprintln(errs, message(err))
		return 1
	}
	if c.launchFlags.wanted() {
		return c.launchAll(args, withoutSettings(os.Environ(), parser), given(parsed), out, errs)
	}
	ctx, asked, stop := interrupts()
	defer stop()
	err = c.train(ctx, asked, given(parsed), out, errs)
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
func (c *commandLine) train(ctx context.Context, asked <-chan os.Signal, given func(flag string) bool, out io.Writer, errs *os.File) (err error) {
	began, o := time.Now(), &c.options
	if err := c.check(given); err != nil {
		return err
	}
	asks := o.Device
	group, device, err := o.join(ctx)
	if err != nil {
		return err
	}
	fell := torch.FellBack(o.Device, device)
	o.Device = asks // and not that of this rank, for config.yaml
	defer func() {
		if err != nil && !errors.Is(err, train.ErrInterrupted) {
			err = group.Fail(err)
		}
		if closeErr := group.Close(); err == nil {
			err = closeErr
		}
	}()
	if (o.DryRun || o.Overfit > 0 || o.evaluatesAlone()) && group.Size() > 1 {
		return refusal("--dry-run, --overfit and an evaluation alone are for one process; drop --nproc-per-node")
	}
	torch.SetNumThreads(o.Threads)
	if err := o.agree(group); err != nil {
		return err
	}
	log, bar := logTo(errs)
	config := o.config(given)
	config.Group, config.Log, config.Notes = group, log, c.notes
	if fell != "" {
		config.Notes = append(config.Notes, fell)
	}
	if o.evaluatesAlone() {
		return o.evaluate(ctx, config, device, o.fetching(errs), out)
	}
	t, err := o.open(ctx, config, device, o.fetching(errs))
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
	go func() {
		for range asked {
			t.SaveSoon()
		}
	}()
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
	if err == nil && group.Rank() == 0 {
		where := "nothing was kept (--logs none)"
		if sum.Dir != "" {
			where = sum.Dir + "/checkpoints/latest holds the model"
		}
		fmt.Fprintf(errs, "train: %d steps in %.0f s, the last loss %.4f, %s; %s\n", sum.Steps, time.Since(began).Seconds(), sum.Loss, unread(len(sum.Bad)), where)
	}
	return err
}

// unread says how many images were left out.
func unread(n int) string {
	switch n {
	case 0:
		return "every image was read"
	case 1:
		return "1 image could not be read"
	}
	return fmt.Sprintf("%d images could not be read", n)
}

// check refuses a command line that makes no run, with all its faults.
func (c *commandLine) check(given func(flag string) bool) error {
	err := c.options.check(c.options.config(given))
	if len(c.faults) == 0 {
		return err
	}
	all := &train.ConfigError{Faults: c.faults}
	var more *train.ConfigError
	if errors.As(err, &more) {
		all.Faults = append(all.Faults, more.Faults...)
	}
	return all
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
	p.bar.Describe(fmt.Sprintf("loss %.3f %4.0f images/s", s.Loss, s.SamplesPerSecond))
	_ = p.bar.Set(s.Step)
}

// Write prints a line of the log where the bar was; the next step redraws the bar.
func (p *progress) Write(line []byte) (int, error) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	return p.errs.Write(line)
}
