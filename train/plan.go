package train

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/internal/estimate"
)

// Plan is what a run would do and take, before it has begun.
type Plan struct {
	Model               string
	Image, Text         string // the towers
	Parameters, Learn   int
	Images, Batches     int // of the training data, and of an epoch
	Val, Zeroshot       int // images of the evaluations
	Batch, Micro, Steps int // images that the loss compares, of them carried through the towers at once, and optimiser steps
	Done                int // of them, of a resumed run
	Warmup              int
	Schedule            string
	LR, TokenLR         float64 // at their peak; the second is the token embeddings'
	Device, Products    string
	Guessing            float64         // loss
	StepFLOPs, Peak     float64         // of a step with texts of the whole length, and of the device in a second
	Memory              estimate.Memory // of a step with texts of the whole length
	Loader              float64         // bytes of the batches that are made ahead, and of the decoded images that are kept, at most
	Checkpoint          float64         // bytes of one
	Checkpoints         int             // how many there are in the end, and while one is replaced
	Free                float64         // bytes on the disk of Config.Dir; 0 where that is not known
	Dir                 string

	name func(field string) string
}

// Plan looks at what has been opened. It measures the speed of a matrix product, and writes
// nothing.
func (t *Trainer) Plan() (*Plan, error) {
	c := t.model.Config
	p := &Plan{Model: t.model.Name, Image: "a tower of one's own", Text: "a tower of one's own", Parameters: t.model.NumParameters(),
		Images: t.loader.Len(), Batches: t.loader.Batches(), Batch: t.batch(), Micro: t.c.BatchSize, Steps: t.total, Done: t.state.Step,
		Warmup: t.warmup, Schedule: t.c.Schedule, LR: t.c.LR, TokenLR: t.tokenLR(), Device: t.device.String(), Products: t.precision.computes().String(),
		Guessing: t.chance(t.batch()), Dir: t.dir, name: t.c.name}
	for _, t := range t.model.Parameters() {
		if t.RequiresGrad() {
			p.Learn += t.Numel()
		}
	}
	if t.val != nil {
		p.Val = t.val.Len()
	}
	if t.zeroshot != nil {
		p.Zeroshot = t.zeroshot.Len()
	}
	var err error
	if p.Peak, err = measurePeak(t.device, t.precision.computes(), t.precision.splits); err != nil {
		return nil, err
	}
	if estimable(t.model) {
		p.Image, p.Text = c.Vision.String(), c.Text.String()
		p.StepFLOPs = estimate.StepCostOf(t.model).FLOPs(slices.Repeat([]int{t.model.ContextLength()}, p.Batch))
		p.Memory = estimate.MemoryOf(t.model, estimate.Training{Batch: p.Batch, MicroBatch: p.Micro, BFloat16: t.precision.amp,
			Checkpointing: t.c.GradCheckpointing})
	}
	pixels := 3 * float64(c.Vision.ImageSize.Height*c.Vision.ImageSize.Width)
	p.Loader = 4*pixels*float64(t.c.BatchSize*(t.c.Workers+1)) + min(cacheSize, pixels*float64(p.Images))
	p.Checkpoint = 4*float64(p.Parameters) + 8*float64(p.Learn)
	p.Checkpoints = 2
	switch epochs := t.c.Epochs; {
	case t.c.SaveEpochs > 0 && t.c.DeletePrevious:
		p.Checkpoints += 2
	case t.c.SaveEpochs > 0:
		p.Checkpoints += (epochs + t.c.SaveEpochs - 1) / t.c.SaveEpochs
	}
	if t.dir != "" {
		p.Free = float64(disk.FreeBytes(filepath.Dir(t.dir)))
	}
	return p, nil
}

// String returns the plan in lines for people.
func (p *Plan) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("model", "%s: %d parameters, %d of them learn", p.Model, p.Parameters, p.Learn)
	line("images", "%s", p.Image)
	line("texts", "%s", p.Text)
	line("data", "%d images, %d batches an epoch; to evaluate: retrieval on %d images, zero-shot on %d", p.Images, p.Batches, p.Val, p.Zeroshot)
	batch := ""
	if p.Micro < p.Batch {
		batch = fmt.Sprintf(" in micro-batches of %d", p.Micro)
	}
	tokens := ""
	if p.TokenLR != p.LR {
		tokens = fmt.Sprintf(" (token embeddings %.3g)", p.TokenLR)
	}
	line("steps", "%d of %d pairs%s, %d done; %s after %d steps of warm-up, peak learning rate %.3g%s; chance level is a loss of %.3f", p.Steps, p.Batch, batch, p.Done, p.Schedule, p.Warmup, p.LR, tokens, p.Guessing)
	line("computing", "%.4g TFLOP a step on %s in %s; a matrix product reaches %.1f GFLOP/s, so that no step of texts of the whole length takes less than %.2g s",
		p.StepFLOPs/1e12, p.Device, p.Products, p.Peak/1e9, p.StepFLOPs/p.Peak)
	m := p.Memory
	line("memory", "%s at a step's worst moment: weights %s, gradients %s, AdamW %s, bfloat16 copies %s,", sizeText(m.Peak()), sizeText(m.Weights), sizeText(m.Gradients), sizeText(m.Optimiser), sizeText(m.Casts))
	line("", "image tower %s, text tower %s, a block's workspace %s, images %s, features and loss %s;", sizeText(m.ImageTower), sizeText(m.TextTower), sizeText(m.Workspace), sizeText(m.Images), sizeText(m.Features+m.Loss))
	line("", "and at most %s for batches made ahead and decoded images", sizeText(p.Loader))
	free := ""
	if p.Free > 0 {
		free = fmt.Sprintf("; %s are free", sizeText(p.Free))
	}
	line("disk", "%s a checkpoint, %s for up to %d of them under %s%s", sizeText(p.Checkpoint), sizeText(p.Checkpoint*float64(p.Checkpoints)), p.Checkpoints, p.Dir, free)
	if need := p.Checkpoint * float64(p.Checkpoints); p.Free > 0 && need > p.Free {
		line("", "that is more than there is: keep fewer checkpoints (%s, %s) or take another disk", p.name("SaveEpochs"), p.name("DeletePrevious"))
	}
	return b.String()
}

// sizeText is a number of bytes for people, "1.2 GB".
func sizeText(n float64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.3g GB", n/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.3g MB", n/1e6)
	default:
		return fmt.Sprintf("%.3g kB", n/1e3)
	}
}
