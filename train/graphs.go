package train

import (
	"fmt"

	"github.com/goclip/goclip/torch"
)

// A step of few images gives a GPU less to do than Go, libtorch's dispatcher and autograd take to
// say it. With Config.CUDAGraphs the whole step, from the towers to the weights, is captured once
// for each shape of a batch and then replayed.

// shape is what two batches must share for one captured step.
type shape struct{ images, rows int }

// capturedStep is a step and the tensors that it works on.
type capturedStep struct {
	graph   *torch.Graph
	pixels  *torch.Tensor // (n, 3, H, W)
	numbers *torch.Tensor // of the texts
	lr      *torch.Tensor // () float32
	outcome *torch.Tensor // (7) float64
}

// maxGraphs is how many shapes are captured; batches of others are computed kernel by kernel.
const maxGraphs = 16

// checkGraphs says in words with {Field}s why a step cannot be captured, "" where it can.
func (t *stepper) checkGraphs(c *Config) string {
	switch {
	case t.device.Type != "cuda":
		return "the device is " + t.device.String()
	case !torch.CanCapture():
		return "this program is built without CUDA graphs: make build-cuda builds it with them"
	case t.group.Size() > 1:
		return "several processes train"
	case c.AccumFreq > 1:
		return "{AccumFreq} computes a step in parts"
	case c.GradCheckpointing:
		return "{GradCheckpointing} looks at the random numbers on the host"
	case t.precision.scales:
		return "{Precision} " + c.Precision + " changes the factor of the loss from step to step; take amp_bf16"
	case t.matchIDs:
		return "the loss receives which images and captions are equal"
	case t.teacher != nil:
		return "{Teacher} reads texts in its own way"
	case t.lossOf != nil:
		return "{Loss} may look at numbers on the host"
	case !t.arranges():
		return "captions must be packed for it: that takes a causal text tower that is read at the end token, and {Precision} amp_bf16 or pure_bf16"
	}
	return ""
}

// arranges reports whether a batch's captions have no padding.
func (t *stepper) arranges() bool {
	texts := t.model.ArrangeTexts(make([]int64, t.model.ContextLength()), t.precision.computes(), 1)
	return texts != nil && texts.Packed()
}

// room is what the number of a batch's tokens is a multiple of, so that batches share their shape:
// a token for each caption, which is a tenth of an ordinary one. 0 is no room.
func (t *stepper) room(captions int) int {
	if !t.capturing {
		return 0
	}
	return max(64, captions)
}

// captured is the captured step for a batch, nil where there is none.
func (t *stepper) captured(micros []*micro) (*capturedStep, error) {
	if !t.capturing {
		return nil, nil
	}
	m := micros[0]
	graph, step, err := t.graphs.Get(shape{m.n, m.texts.Rows()}, func() (*torch.Graph, *capturedStep, error) {
		step, err := t.capture(m)
		return step.graph, step, err
	})
	if err != nil {
		return nil, fmt.Errorf("capturing the step: %w", err)
	}
	if graph == nil {
		return nil, nil
	}
	return step, nil
}

// capture captures the step of batches of m's shape.
func (t *stepper) capture(m *micro) (step *capturedStep, err error) {
	step = &capturedStep{}
	if err := torch.NoGrad(func(s *torch.Scope) {
		pixels, numbers := t.onDevice(s, m)
		step.pixels, step.numbers = pixels.Clone().Keep(), numbers.Clone().Keep()
		step.lr = torch.Zeros(nil, t.device, torch.Float32)
		step.outcome = torch.Zeros(nil, t.device, torch.Float64, outcomes)
	}); err != nil {
		return step, err
	}
	step.graph, err = torch.Capture(t.device, func() error {
		defer t.optimiser.ZeroGrad() // into the graph's memory
		return t.onceOnDevice(func(s *torch.Scope) (loss, accuracy *torch.Tensor) {
			return t.directGradients(s, m, s.Alias(step.pixels), s.Alias(step.numbers))
		}, func(s *torch.Scope, loss, accuracy *torch.Tensor) {
			own := torch.Zeros(s, t.device, torch.Float64, 3) // replay knows it
			s.Alias(step.outcome).CopyFrom(t.update(s, loss, accuracy, own, s.Alias(step.lr)))
		})
	})
	return step, err
}

// replay does a captured step on a batch of its shape.
func (t *stepper) replay(step *capturedStep, m *micro, own common) (out outcome, err error) {
	err = torch.NoGrad(func(s *torch.Scope) {
		pixels, numbers := t.onDevice(s, m)
		s.Alias(step.pixels).CopyFrom(pixels)
		s.Alias(step.numbers).CopyFrom(numbers)
		s.Alias(step.lr).Fill(t.optimiser.LR())
		step.graph.Replay()
		out = readOutcome(step.outcome)
	})
	out.common = own // of one process
	return out, err
}
