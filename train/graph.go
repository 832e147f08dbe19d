package train

import (
	"fmt"

	"github.com/goclip/goclip/torch"
)

// A step of few pictures gives a GPU less to do than Go, libtorch's dispatcher and autograd take to say it. With --cuda-graphs the whole
// step, from the towers to the weights, is captured once for each shape of a batch and then replayed.

// shape is what two batches must share for one captured step.
type shape struct{ pictures, rows int }

// capturedStep is a step and the tensors that it works on.
type capturedStep struct {
	graph   *torch.Graph  // nil until the second batch of its shape: the first prepares what libraries need
	pixels  *torch.Tensor // (n, 3, H, W)
	numbers *torch.Tensor // of the texts
	lr      *torch.Tensor // () float32
	outcome *torch.Tensor // (7) float64
}

// mostGraphs is how many shapes are captured; batches of others are computed kernel by kernel.
const mostGraphs = 16

// checkGraphs refuses --cuda-graphs where a step cannot be captured.
func (r *run) checkGraphs() error {
	if !r.o.CUDAGraphs {
		return nil
	}
	why := ""
	switch {
	case r.device.Type != "cuda":
		why = "the device is " + r.device.String()
	case !torch.CanCapture():
		why = "this program is built without CUDA graphs: make build-cuda builds it with them"
	case r.group.Size() > 1:
		why = "several processes train"
	case r.o.AccumFreq > 1:
		why = "--accum-freq computes a step in parts"
	case r.o.GradCheckpointing:
		why = "--grad-checkpointing looks at the random numbers on the host"
	case r.precision.scales:
		why = "--precision " + r.o.Precision + " changes the factor of the loss from step to step; take amp_bf16"
	case r.matchIDs:
		why = "the loss is told which pictures and captions are equal"
	case r.teacher != nil:
		why = "--distill-model reads texts in its own way"
	case !r.arranges():
		why = "captions must be packed for it: that takes a causal text tower that is read at the end token, and --precision amp_bf16 or pure_bf16"
	default:
		return nil
	}
	return optionsError{fmt.Errorf("train: --cuda-graphs: %s", why)}
}

// arranges tells whether a batch's captions have no padding.
func (r *run) arranges() bool {
	texts := r.model.ArrangeTexts(make([]int64, r.model.ContextLength()), r.precision.computes(), 1)
	return texts != nil && texts.Packed()
}

// room is what the number of a batch's tokens is a multiple of, so that batches share their shape: a token for each caption, which
// is a tenth of an ordinary one. 0 is no room.
func (r *run) room(captions int) int {
	if !r.o.CUDAGraphs {
		return 0
	}
	return max(64, captions)
}

// captured is the captured step for a batch, nil where there is none.
func (r *run) captured(micros []*micro) (*capturedStep, error) {
	if !r.o.CUDAGraphs {
		return nil, nil
	}
	m := micros[0]
	at := shape{m.n, m.texts.Rows()}
	step, known := r.graphs[at]
	switch {
	case !known && len(r.graphs) < mostGraphs:
		if r.graphs == nil {
			r.graphs = map[shape]*capturedStep{}
		}
		r.graphs[at] = &capturedStep{}
		return nil, nil
	case !known:
		return nil, nil
	case step.graph == nil:
		if err := r.capture(step, m); err != nil {
			return nil, fmt.Errorf("train: --cuda-graphs: %w", err)
		}
	}
	return step, nil
}

// capture captures the step of batches of m's shape.
func (r *run) capture(step *capturedStep, m *micro) (err error) {
	if err := torch.NoGrad(func(s *torch.Scope) {
		pixels, numbers := r.onDevice(s, m)
		step.pixels, step.numbers = pixels.Clone().Keep(), numbers.Clone().Keep()
		step.lr = torch.Zeros(nil, r.device, torch.Float32)
		step.outcome = torch.Zeros(nil, r.device, torch.Float64, outcomes)
	}); err != nil {
		return err
	}
	step.graph, err = torch.Capture(r.device, func() error {
		defer r.optimiser.ZeroGrad() // into the graph's memory
		return r.onceOnDevice(func(s *torch.Scope) (loss, accuracy *torch.Tensor) {
			return r.directGradients(s, m, s.Alias(step.pixels), s.Alias(step.numbers))
		}, func(s *torch.Scope, loss, accuracy *torch.Tensor) {
			own := torch.Zeros(s, r.device, torch.Float64, 3) // replay knows it
			s.Alias(step.outcome).CopyFrom(r.update(s, loss, accuracy, own, s.Alias(step.lr)))
		})
	})
	return err
}

// replay does a captured step on a batch of its shape.
func (r *run) replay(step *capturedStep, m *micro, own common) (out outcome, err error) {
	err = torch.NoGrad(func(s *torch.Scope) {
		pixels, numbers := r.onDevice(s, m)
		s.Alias(step.pixels).CopyFrom(pixels)
		s.Alias(step.numbers).CopyFrom(numbers)
		s.Alias(step.lr).Fill(r.optimiser.LR())
		step.graph.Replay()
		out = readOutcome(step.outcome)
	})
	out.common = own // of one process
	return out, err
}
