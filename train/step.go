package train

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch/optim"
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
	Skipped          int     `json:"skipped,omitempty"` // steps so far whose gradient was not finite

	MFU               float64 `json:"mfu"`                // share of the device's measured speed, see utilisation
	DuplicateCaptions float64 `json:"duplicate_captions"` // share of the batch's captions that stand in it before
	Accuracy          float64 `json:"accuracy"`           // share of the batch's first 256 pictures whose text is nearest in the batch
}

// MarshalJSON writes null for a number that JSON has none for: the loss of a step that was skipped.
func (s Step) MarshalJSON() ([]byte, error) {
	type plain Step
	out := struct {
		plain
		Loss     *float64 `json:"loss"`
		GradNorm *float64 `json:"grad_norm"`
	}{plain: plain(s)}
	if finite(s.Loss) {
		out.Loss = &s.Loss
	}
	if finite(s.GradNorm) {
		out.GradNorm = &s.GradNorm
	}
	return json.Marshal(out)
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

// trainStep is one optimiser step on micro-batches that began when the first was asked for; wait of it went by without
// data. It returns what all processes know of the step, of which this one was told to stop or not.
//
// The device decides by itself whether the step counts and how far its gradients are scaled down; the host waits for it once, to read
// what came out.
func (r *run) trainStep(micros []*micro, began time.Time, wait time.Duration, told bool) (s *Step, all common, err error) {
	s = &Step{Step: r.state.Step + 1, Epoch: r.state.Epoch, LR: r.schedule(r.state.Step)}
	r.optimiser.SetLR(s.LR)
	defer r.optimiser.ZeroGrad()
	own := common{stop: told, save: r.betweenDue()}
	for _, m := range micros {
		own.n += m.n
	}
	out, err := r.compute(micros, own)
	if err != nil {
		return nil, all, err
	}
	all = out.common
	s.Loss, s.GradNorm, s.LogitScale, s.Accuracy = out.loss, out.norm, out.logitScale, out.accuracy
	good := finite(s.Loss) && finite(s.GradNorm)
	if r.state.Scaler != nil {
		r.state.Scaler.update(good)
	}
	if good {
		r.state.SkippedInARow = 0
	} else if err := r.skip(s, micros); err != nil {
		return nil, all, err
	}
	r.state.Samples += all.n
	s.Samples, s.Skipped = r.state.Samples, r.state.Skipped
	s.DataTime = wait.Seconds()
	s.StepTime = time.Since(began).Seconds()
	s.SamplesPerSecond = float64(all.n) / s.StepTime
	return s, all, err
}

// skip leaves out a step whose loss or gradient is not finite, as --non-finite and float16's scaler want it, or says why the
// run ends.
func (r *run) skip(s *Step, micros []*micro) error {
	r.state.Skipped++
	r.state.SkippedInARow++
	overflow := r.state.Scaler != nil && finite(s.Loss)
	if overflow && r.state.Scaler.Factor >= 1 {
		return nil // as it is meant to find its factor
	}
	what := fmt.Sprintf("the loss is %g", s.Loss)
	if finite(s.Loss) {
		what = fmt.Sprintf("the gradient's norm is %g", s.GradNorm)
	}
	why := r.notFinite(micros)
	if r.o.NonFinite == "skip" && r.state.SkippedInARow < mostSkipped {
		r.logf("step %d is skipped: %s: %s", s.Step, what, why)
		return nil
	}
	return fmt.Errorf("train: step %d: %s: %s; lower --lr, or set --grad-clip-norm 1", s.Step, what, why)
}
