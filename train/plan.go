package train

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/internal/estimate"
)

// Plan is what --dry-run tells of a run.
type Plan struct {
	Model               string
	Image, Text         string // the towers
	Parameters, Learn   int
	Pictures, Batches   int // of the training data, and of an epoch
	Val, Zeroshot       int // pictures of the evaluations
	Batch, Micro, Steps int // pictures that the loss compares, of them carried through the towers at once, and optimiser steps
	Done                int // of them, of a run that goes on
	Warmup              int
	Schedule            string
	LR, TokenLR         float64 // at their peak; the second is the token embeddings'
	Device, Products    string
	Guessing            float64         // loss
	StepFLOPs, Peak     float64         // of a step with texts of the whole length, and of the device in a second
	Memory              estimate.Memory // of a step with texts of the whole length
	Loader              float64         // bytes of the batches that are made ahead, and of the decoded pictures that are kept, at most
	Checkpoint          float64         // bytes of one
	Checkpoints         int             // how many there are in the end, and while one is replaced
	Free                float64         // bytes on the disk of --logs; 0 where that is not known
	Dir                 string
}

// plan looks at what open has opened.
func (r *run) plan() (*Plan, error) {
	c := r.model.Config
	p := &Plan{Model: r.o.Model, Image: c.Vision.String(), Text: c.Text.String(), Parameters: r.model.NumParameters(),
		Pictures: r.loader.Len(), Batches: r.loader.Batches(), Batch: r.batch(), Micro: r.o.BatchSize, Steps: r.total, Done: r.state.Step,
		Warmup: r.warmup, Schedule: r.o.LRScheduler, LR: r.o.LR, TokenLR: r.o.tokenLR(r.total), Device: r.device.String(), Products: r.precision.computes().String(),
		Guessing: r.chance(r.batch()), Dir: r.dir}
	for _, t := range r.model.Parameters() {
		if t.RequiresGrad() {
			p.Learn += t.Numel()
		}
	}
	if r.val != nil {
		p.Val = r.val.Len()
	}
	if r.zeroshot != nil {
		p.Zeroshot = r.zeroshot.loader.Len()
	}
	var err error
	if p.Peak, err = measurePeak(r.device, r.precision.computes()); err != nil {
		return nil, err
	}
	p.StepFLOPs = estimate.StepCostOf(r.model).FLOPs(slices.Repeat([]int{r.model.ContextLength()}, p.Batch))
	p.Memory = estimate.MemoryOf(r.model, estimate.Training{Batch: p.Batch, MicroBatch: p.Micro, BFloat16: r.precision.amp,
		Checkpointing: r.o.GradCheckpointing})
	pixels := 3 * float64(c.Vision.ImageSize.Height*c.Vision.ImageSize.Width)
	p.Loader = 4*pixels*float64(r.o.BatchSize*(r.o.Workers+1)) + min(cacheSize, pixels*float64(p.Pictures))
	p.Checkpoint = 4*float64(p.Parameters) + 8*float64(p.Learn)
	p.Checkpoints = 2
	switch epochs := r.o.Epochs; {
	case r.o.SaveFrequency > 0 && r.o.DeletePrev:
		p.Checkpoints += 2
	case r.o.SaveFrequency > 0:
		p.Checkpoints += (epochs + r.o.SaveFrequency - 1) / r.o.SaveFrequency
	}
	p.Free = float64(disk.FreeBytes(r.o.Logs))
	return p, nil
}

// String is the plan in lines for people.
func (p *Plan) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("model", "%s: %d parameters, %d of them learn", p.Model, p.Parameters, p.Learn)
	line("pictures", "%s", p.Image)
	line("texts", "%s", p.Text)
	line("data", "%d pictures, %d batches an epoch; to evaluate: retrieval on %d pictures, zero-shot on %d", p.Pictures, p.Batches, p.Val, p.Zeroshot)
	batch := ""
	if p.Micro < p.Batch {
		batch = fmt.Sprintf(" in micro-batches of %d", p.Micro)
	}
	tokens := ""
	if p.TokenLR != p.LR {
		tokens = fmt.Sprintf(" (token embeddings %.3g)", p.TokenLR)
	}
	line("steps", "%d of %d pairs%s, %d done; %s after %d steps of warm-up, peak learning rate %.3g%s; guessing gives a loss of %.3f", p.Steps, p.Batch, batch, p.Done, p.Schedule, p.Warmup, p.LR, tokens, p.Guessing)
	line("computing", "%.4g TFLOP a step on %s in %s; a matrix product reaches %.1f GFLOP/s, so that no step of texts of the whole length takes less than %.2g s",
		p.StepFLOPs/1e12, p.Device, p.Products, p.Peak/1e9, p.StepFLOPs/p.Peak)
	m := p.Memory
	line("memory", "%s at a step's worst moment: weights %s, gradients %s, AdamW %s, bfloat16 copies %s,", sizeText(m.Peak()), sizeText(m.Weights), sizeText(m.Gradients), sizeText(m.Optimiser), sizeText(m.Casts))
	line("", "picture tower %s, text tower %s, a block's workspace %s, pictures %s, features and loss %s;", sizeText(m.ImageTower), sizeText(m.TextTower), sizeText(m.Workspace), sizeText(m.Pictures), sizeText(m.Features+m.Loss))
	line("", "and at most %s for batches made ahead and decoded pictures", sizeText(p.Loader))
	free := ""
	if p.Free > 0 {
		free = fmt.Sprintf("; %s are free", sizeText(p.Free))
	}
	line("disk", "%s a checkpoint, %s for up to %d of them under %s%s", sizeText(p.Checkpoint), sizeText(p.Checkpoint*float64(p.Checkpoints)), p.Checkpoints, p.Dir, free)
	if need := p.Checkpoint * float64(p.Checkpoints); p.Free > 0 && need > p.Free {
		line("", "that is more than there is: give --save-frequency 0, --delete-previous-checkpoint or another --logs")
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
