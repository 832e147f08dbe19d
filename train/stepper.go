package train

import (
	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/torch/optim"
)

// stepper does optimiser steps on micro-batches: embedding, loss, gradients, and what these do to
// the weights.
type stepper struct {
	model     *clip.Model
	teacher   *clip.Model // frozen; nil without
	lossOf    Loss        // the caller's own; nil: clip/loss
	matchIDs  bool        // the loss knows equal images and captions
	device    torch.Device
	precision precision
	group     *distributed.Group // of this process alone, or of all that train together
	reducer   *distributed.Reducer
	optimiser *optim.AdamW
	clipNorm  float64 // 0 clips nothing
	scaler    *scaler // nil where the precision needs none

	capturing bool // of CUDA graphs
	graphs    torch.GraphCache[shape, *capturedStep]
}

// common is what the processes find out about a step together.
type common struct {
	n    int  // pairs of all
	stop bool // one was asked to stop: all do after this step
	save bool // process 0 will write a checkpoint after it
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

// good reports whether the step counted: one whose loss or gradient is not finite leaves the weights
// as they were.
func (o outcome) good() bool { return finite(o.loss) && finite(o.norm) }

// outcomes is how many numbers [stepper.update] gives.
const outcomes = 7

// readOutcome waits for the device to have done the step of [stepper.update].
func readOutcome(t *torch.Tensor) outcome {
	v := torch.ToSlice[float64](t)
	return outcome{common{int(v[1]), v[2] > 0, v[3] > 0}, v[0], v[5], v[6], v[4]}
}

// step is one optimiser step at the optimiser's rate. The gradients stay for [stepper.notFinite];
// the caller removes them.
//
// The device decides whether the step counts and how far its gradients are scaled down;
// the host waits for it once, to read what came out.
func (t *stepper) step(micros []*micro, own common) (out outcome, err error) {
	if captured, err := t.captured(micros); err != nil {
		return out, err
	} else if captured != nil {
		return t.replay(captured, micros[0], own)
	}
	err = t.onceOnDevice(func(s *torch.Scope) (loss, accuracy *torch.Tensor) { return t.gradients(s, micros) },
		func(s *torch.Scope, loss, accuracy *torch.Tensor) {
			out = readOutcome(t.update(s, loss, accuracy, own.tensor(loss), nil))
		})
	if err == nil {
		err = t.group.Check() // what was read is no step where a process has failed
	}
	if err == nil && t.scaler != nil {
		t.scaler.update(out.good())
	}
	return out, err
}

// checkFiles says that a file which weights are still in, of a model that was opened without Copy, has
// changed: what the step was computed from then has no meaning.
func (t *stepper) checkFiles() error {
	err := t.model.CheckWeights()
	if err == nil && t.teacher != nil {
		err = t.teacher.CheckWeights()
	}
	return err
}

// onceOnDevice runs gradients, with the run's products, and then update, without gradients, of what
// they found out.
func (t *stepper) onceOnDevice(gradients func(s *torch.Scope) (loss, accuracy *torch.Tensor), update func(s *torch.Scope, loss, accuracy *torch.Tensor)) error {
	var loss, accuracy *torch.Tensor
	if err := torch.Do(func(s *torch.Scope) {
		t.precision.enter(s, t.device)
		loss, accuracy = gradients(s)
		loss.Keep()
		accuracy.Keep()
	}); err != nil {
		return err
	}
	defer loss.Free()
	defer accuracy.Free()
	if _, err := t.reducer.Finish(); err != nil {
		return err
	}
	return torch.NoGrad(func(s *torch.Scope) { update(s, s.Alias(loss), s.Alias(accuracy)) })
}

// update brings the gradients to the weights, unless the loss or the gradients' norm is not finite,
// and gives (7) float64 on the device, for readOutcome. loss and accuracy () are this process's shares,
// own (3) its [common]; lr () float32 stands for the optimiser's rate, unless it is nil. Nothing in it
// waits for a GPU.
func (t *stepper) update(s *torch.Scope, loss, accuracy, own, lr *torch.Tensor) *torch.Tensor {
	wide := func(x *torch.Tensor) *torch.Tensor { return x.To(t.device, torch.Float64).View(1) }
	all := torch.Cat(0, wide(loss), own, wide(accuracy))
	if t.group.Size() > 1 {
		t.group.AllReduce(all)
	}
	norm := optim.GradNorm(s, t.optimiser.Parameters())
	if norm == nil {
		norm = torch.Zeros(s, t.device, torch.Float32)
	}
	factor := t.factor()
	if t.scaler != nil {
		norm = norm.MulScalar(1 / factor)
	}
	good := all.Narrow(0, 0, 1).IsFinite().Mul(norm.IsFinite()).To(t.device, torch.Float32).Reshape()
	t.optimiser.StepIn(s, optim.Decided{LR: lr, GradScale: t.gradScale(s, norm, factor), FoundInf: good.Neg().AddScalar(1)})
	scale := s.Alias(t.model.LogitScale).ClampInPlace(0, clip.MaxLogitScale)
	return torch.Cat(0, all, wide(norm), wide(scale).Exp())
}

// gradScale is what the gradients, which the scaler made factor times too large, are divided by,
// for a norm of at most clipNorm; nil for 1.
func (t *stepper) gradScale(s *torch.Scope, norm *torch.Tensor, factor float64) *torch.Tensor {
	if t.clipNorm <= 0 {
		if factor == 1 {
			return nil
		}
		return torch.Ones(s, t.device, torch.Float32).MulScalar(factor)
	}
	scale := optim.ClipScale(norm, t.clipNorm).MulScalar(factor)
	if t.device == torch.CPU && scale.Item() == 1 {
		return nil // a pass over all gradients less, and nothing to wait for
	}
	return scale
}
