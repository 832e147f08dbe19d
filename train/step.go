package train

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
	"github.com/goclip/goclip/train/data"
)

// Step is a line of metrics.jsonl.
type Step struct {
	Step             int     `json:"step"` // counts from 1
	Epoch            int     `json:"epoch"`
	Samples          int     `json:"samples"`
	Loss             float64 `json:"loss"`
	LogitScale       float64 `json:"logit_scale"` // exp of the parameter
	LR               float64 `json:"lr"`
	GradNorm         float64 `json:"grad_norm"`
	DataTime         float64 `json:"data_time"` // seconds waited for the batch
	StepTime         float64 `json:"step_time"` // seconds, the wait included
	SamplesPerSecond float64 `json:"samples_per_second"`
}

// parameterGroups is open_clip 3.3.0's rule (open_clip_train/main.py): weight decay for all but gains, biases and the
// temperature. Embeddings and positions do decay.
func parameterGroups(m *clip.Model, decay float64) []optim.Group {
	plain, decayed := optim.Group{}, optim.Group{WeightDecay: decay}
	for key, p := range m.Parameters() {
		if !p.RequiresGrad() {
			continue // a locked tower's, or fixed positions
		}
		param := optim.Param{Name: key, T: p}
		if p.Dim() < 2 || strings.Contains(key, "bn") || strings.Contains(key, "ln") || strings.Contains(key, "bias") || strings.Contains(key, "logit_scale") {
			plain.Params = append(plain.Params, param)
		} else {
			decayed.Params = append(decayed.Params, param)
		}
	}
	return []optim.Group{plain, decayed}
}

// trainStep is one optimiser step on a batch.
func (r *run) trainStep(b *data.Batch) (Step, error) {
	began := time.Now()
	s := Step{Step: r.state.Step + 1, Epoch: r.state.Epoch, LR: r.schedule(r.state.Step)}
	r.optimiser.SetLR(s.LR)
	err := torch.Do(func(scope *torch.Scope) {
		if r.o.Precision == "amp_bf16" {
			scope.Autocast(r.device, torch.BFloat16)
		}
		pixels, tokens := r.tensors(scope, b)
		loss := r.model.Loss(pixels, tokens)
		s.Loss = loss.Item()
		if finite(s.Loss) {
			loss.Backward()
		}
	})
	if err != nil {
		return s, fmt.Errorf("train: step %d: %w", s.Step, err)
	}
	if !finite(s.Loss) {
		return s, fmt.Errorf("train: step %d: the loss is %g%s; lower --lr, or set --grad-clip-norm 1", s.Step, s.Loss, r.notFinite())
	}
	if s.GradNorm, err = optim.ClipGradNorm(r.optimiser.Parameters(), r.o.GradClipNorm); err != nil {
		return s, err
	}
	if !finite(s.GradNorm) {
		return s, fmt.Errorf("train: step %d: the gradient's norm is %g; lower --lr, or set --grad-clip-norm 1", s.Step, s.GradNorm)
	}
	if err := r.optimiser.Step(); err != nil {
		return s, err
	}
	r.optimiser.ZeroGrad()
	err = torch.NoGrad(func(scope *torch.Scope) {
		scale := scope.Alias(r.model.LogitScale).ClampInPlace(0, clip.MaxLogitScale)
		s.LogitScale = math.Exp(scale.Item())
	})
	r.state.Samples += b.N
	s.Samples = r.state.Samples
	s.DataTime = b.Wait.Seconds()
	s.StepTime = time.Since(began).Seconds() + s.DataTime
	s.SamplesPerSecond = float64(b.N) / s.StepTime
	return s, err
}

// tensors moves a batch to the device: (N, 3, H, W) and (N, L).
func (r *run) tensors(s *torch.Scope, b *data.Batch) (pixels, tokens *torch.Tensor) {
	size := r.model.Config.Vision.ImageSize
	pixels = torch.FromSlice(s, b.Pixels, b.N, 3, size.Height, size.Width).To(r.device, torch.Float32)
	tokens = torch.FromSlice(s, b.Tokens, b.N, r.model.ContextLength()).To(r.device, torch.Int64)
	return pixels, tokens
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// notFinite names the first parameter that holds a number that is none.
func (r *run) notFinite() (name string) {
	_ = torch.NoGrad(func(s *torch.Scope) {
		for key, p := range r.model.Parameters() {
			if name == "" && s.Alias(p).IsFinite().All().Item() == 0 {
				name = ": the parameter " + key + " is not finite"
			}
		}
	})
	return name
}
