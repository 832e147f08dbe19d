package train

import (
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

// tensor is (3) float64, to be added up over the processes.
func (c common) tensor(s *torch.Scope, device torch.Device) *torch.Tensor {
	number := map[bool]float64{true: 1}
	return torch.FromSlice(s, []float64{float64(c.n), number[c.stop], number[c.save]}, 3).To(device, torch.Float64)
}

// outcome is what came out of a step.
type outcome struct {
	common
	loss       float64 // the sum of the processes' shares
	norm       float64 // of the gradient, before it is clipped
	logitScale float64 // exp of the parameter, after the step
}

// readOutcome waits for the device to have done the step of [run.update].
func readOutcome(t *torch.Tensor) outcome {
	v := torch.ToSlice[float64](t)
	return outcome{common{int(v[1]), v[2] > 0, v[3] > 0}, v[0], v[4], v[5]}
}

// compute runs a step on the device and waits for it.
func (r *run) compute(micros []*micro, own common) (out outcome, err error) {
	var loss *torch.Tensor
	if err = torch.Do(func(s *torch.Scope) {
		r.precision.enter(s, r.device)
		loss = r.gradients(s, micros).Keep()
	}); err != nil {
		return out, err
	}
	defer loss.Free()
	if _, err = r.reducer.Finish(); err != nil {
		return out, err
	}
	err = torch.NoGrad(func(s *torch.Scope) { out = readOutcome(r.update(s, loss, own.tensor(s, r.device))) })
	return out, err
}

// update brings the gradients to the weights, unless the loss or the gradients' norm is not finite, and gives (6) float64 on the
// device, for readOutcome. loss () is this process's share, own (3) its [common]. Nothing in it waits for the device.
func (r *run) update(s *torch.Scope, loss, own *torch.Tensor) *torch.Tensor {
	all := torch.Cat(0, s.Alias(loss).To(r.device, torch.Float64).View(1), own)
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
	r.optimiser.StepIn(s, optim.Decided{GradScale: r.gradScale(norm, factor), FoundInf: good.Neg().AddScalar(1)})
	scale := s.Alias(r.model.LogitScale).ClampInPlace(0, clip.MaxLogitScale).To(r.device, torch.Float64).Exp()
	return torch.Cat(0, all, norm.To(r.device, torch.Float64).View(1), scale.View(1))
}

// gradScale is what the gradients, which the scaler made factor times too large, are divided by, for a norm of at most
// --grad-clip-norm; nil for 1.
func (r *run) gradScale(norm *torch.Tensor, factor float64) *torch.Tensor {
	if r.o.GradClipNorm <= 0 {
		if factor == 1 {
			return nil
		}
		return torch.Ones(nil, r.device, torch.Float32).MulScalar(factor)
	}
	scale := optim.ClipScale(norm, r.o.GradClipNorm).MulScalar(factor)
	if r.device == torch.CPU && scale.Item() == 1 {
		return nil // a pass over all gradients less, and nothing to wait for
	}
	return scale
}
