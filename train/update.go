package train

import (
	"fmt"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
)

// common is what the processes find out about a step together.
type common struct {
	n    int  // pictures of all
	stop bool // one was told to stop: all do after this step
	save bool // rank 0 wants to write a checkpoint after it
}

// tensor is (3) float64 in the scope and on the device of like, to be added up over the processes.
func (c common) tensor(like *torch.Tensor) *torch.Tensor {
	number := map[bool]float64{true: 1}
	return torch.FromSliceLike(like, []float64{float64(c.n), number[c.stop], number[c.save]}, 3)
}

// outcome is what came out of a step.
type outcome struct {
	common
	loss       float64 // the sum of the processes' shares
	norm       float64 // of the gradient, before it is clipped
	logitScale float64 // exp of the parameter, after the step
	accuracy   float64
}

// outcomes is how many numbers [run.update] gives.
const outcomes = 7

// readOutcome waits for the device to have done the step of [run.update].
func readOutcome(t *torch.Tensor) outcome {
	v := torch.ToSlice[float64](t)
	return outcome{common{int(v[1]), v[2] > 0, v[3] > 0}, v[0], v[4], v[5], v[6]}
}

// compute does a step on the device and waits for it.
func (r *run) compute(micros []*micro, own common) (out outcome, err error) {
	if step, err := r.captured(micros); err != nil {
		return out, err
	} else if step != nil {
		return r.replay(step, micros[0], own)
	}
	err = r.onceOnDevice(func(s *torch.Scope) (loss, accuracy *torch.Tensor) { return r.gradients(s, micros) },
		func(s *torch.Scope, loss, accuracy *torch.Tensor) {
			out = readOutcome(r.update(s, loss, accuracy, own.tensor(loss), nil))
		})
	return out, err
}

// onceOnDevice runs gradients, with the run's products, and then update, without gradients, of what they found out.
func (r *run) onceOnDevice(gradients func(s *torch.Scope) (loss, accuracy *torch.Tensor), update func(s *torch.Scope, loss, accuracy *torch.Tensor)) error {
	var loss, accuracy *torch.Tensor
	if err := torch.Do(func(s *torch.Scope) {
		r.precision.enter(s, r.device)
		loss, accuracy = gradients(s)
		loss.Keep()
		accuracy.Keep()
	}); err != nil {
		return fmt.Errorf("train: step %d: %w", r.state.Step+1, err)
	}
	defer loss.Free()
	defer accuracy.Free()
	if _, err := r.reducer.Finish(); err != nil {
		return err
	}
	return torch.NoGrad(func(s *torch.Scope) { update(s, s.Alias(loss), s.Alias(accuracy)) })
}

// update brings the gradients to the weights, unless the loss or the gradients' norm is not finite, and gives (7) float64 on the
// device, for readOutcome. loss () is this process's share, own (3) its [common]; lr () float32 stands for the optimiser's rate, unless it
// is nil. Nothing in it waits for a GPU.
func (r *run) update(s *torch.Scope, loss, accuracy, own, lr *torch.Tensor) *torch.Tensor {
	wide := func(t *torch.Tensor) *torch.Tensor { return t.To(r.device, torch.Float64).View(1) }
	all := torch.Cat(0, wide(loss), own)
	if r.group.Size() > 1 {
		r.group.AllReduce(all)
	}
	norm := optim.GradNorm(s, r.optimiser.Parameters())
	if norm == nil {
		norm = torch.Zeros(s, r.device, torch.Float32)
	}
	factor := 1.
	if r.state.Scaler != nil {
		factor = r.state.Scaler.Factor
		norm = norm.MulScalar(1 / factor)
	}
	good := all.Narrow(0, 0, 1).IsFinite().Mul(norm.IsFinite()).To(r.device, torch.Float32).Reshape()
	r.optimiser.StepIn(s, optim.Decided{LR: lr, GradScale: r.gradScale(s, norm, factor), FoundInf: good.Neg().AddScalar(1)})
	scale := s.Alias(r.model.LogitScale).ClampInPlace(0, clip.MaxLogitScale)
	return torch.Cat(0, all, wide(norm), wide(scale).Exp(), wide(accuracy))
}

// gradScale is what the gradients, which the scaler made factor times too large, are divided by, for a norm of at most
// --grad-clip-norm; nil for 1.
func (r *run) gradScale(s *torch.Scope, norm *torch.Tensor, factor float64) *torch.Tensor {
	if r.o.GradClipNorm <= 0 {
		if factor == 1 {
			return nil
		}
		return torch.Ones(s, r.device, torch.Float32).MulScalar(factor)
	}
	scale := optim.ClipScale(norm, r.o.GradClipNorm).MulScalar(factor)
	if r.device == torch.CPU && scale.Item() == 1 {
		return nil // a pass over all gradients less, and nothing to wait for
	}
	return scale
}
