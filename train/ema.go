package train

import (
	"context"
	"errors"
	"iter"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
)

// ema is an exponential moving average of what learns: after step t, average = d * average + (1 -
// d) * weight, with d = min(decay, (1 + t) / (10 + t)), so that the first steps, far from the end,
// are soon forgotten (tf.train's ExponentialMovingAverage; Polyak and Juditsky, 1992). A ResNet's
// running statistics are those of the run.
//
// Averages are float32 whatever the weights are: in bfloat16 a step of a decay of 0.999 is rounded away.
type ema struct {
	decay    float64
	params   []optim.Param
	averages []*torch.Tensor
	weights  []*torch.Tensor // those that the averages stand for in the model; nil: its own are there
}

var opForeachLerp = torch.NewOp("aten::_foreach_lerp_.Scalar")

func newEMA(decay float64, params []optim.Param) (*ema, error) {
	e := &ema{decay: decay, params: params, weights: make([]*torch.Tensor, len(params))}
	err := torch.NoGrad(func(s *torch.Scope) {
		for _, p := range params {
			e.averages = append(e.averages, s.Alias(p.T).Clone().To(p.T.Device(), torch.Float32).Keep())
		}
	})
	return e, err
}

// update counts the weights after the step t, which counts from 1, into the averages.
func (e *ema) update(t int) error {
	d := min(e.decay, float64(1+t)/float64(10+t))
	return torch.NoGrad(func(s *torch.Scope) {
		var averages, weights []*torch.Tensor
		for i, p := range e.params {
			if p.T.DType() == torch.Float32 {
				averages, weights = append(averages, s.Alias(e.averages[i])), append(weights, s.Alias(p.T))
				continue
			}
			s.NoGrad(func(s *torch.Scope) { // one copy at a time
				wide := s.Alias(p.T).To(p.T.Device(), torch.Float32)
				opForeachLerp.Run(s, []*torch.Tensor{s.Alias(e.averages[i])}, []*torch.Tensor{wide}, 1-d)
			})
		}
		if len(averages) > 0 {
			opForeachLerp.Run(s, averages, weights, 1-d)
		}
	})
}

// show puts the averages in the place of the model's weights, which are kept.
func (e *ema) show() error {
	return torch.NoGrad(func(s *torch.Scope) {
		for i, p := range e.params {
			if e.weights[i] == nil {
				weight := s.Alias(p.T)
				e.weights[i] = weight.Clone().Keep()
				weight.CopyFrom(s.Alias(e.averages[i]))
			}
		}
	})
}

// hide puts the model's weights back, all or those that show had come to when it failed.
func (e *ema) hide() error {
	return torch.NoGrad(func(s *torch.Scope) {
		for i, p := range e.params {
			if w := e.weights[i]; w != nil {
				s.Alias(p.T).CopyFrom(s.Alias(w))
				w.Free()
				e.weights[i] = nil
			}
		}
	})
}

func (e *ema) free() {
	for _, t := range e.averages {
		t.Free()
	}
}

func (e *ema) state() iter.Seq2[string, *torch.Tensor] {
	return func(yield func(string, *torch.Tensor) bool) {
		for i, p := range e.params {
			if !yield(p.Name, e.averages[i]) {
				return
			}
		}
	}
}

// restoreWeights puts the trained weights back into their place, where an evaluation of others was
// interrupted.
func (t *Trainer) restoreWeights() error {
	if t.ema == nil {
		return nil
	}
	return t.ema.hide()
}

// averageWeights follows an optimiser step.
func (t *Trainer) averageWeights() error {
	if t.ema == nil {
		return nil
	}
	if err := t.ema.update(t.state.Step); err != nil {
		return t.c.errorf("{EMADecay}: %w", err)
	}
	return nil
}

// evaluateAverage adds what the averaged weights reach to metrics, each under its name behind
// "ema_".
func (t *Trainer) evaluateAverage(ctx context.Context, metrics Metrics) error {
	if t.ema == nil || t.state.Step == 0 || len(metrics) == 0 {
		return nil
	}
	if err := t.ema.show(); err != nil {
		return errors.Join(err, t.restoreWeights())
	}
	t.watch.logf("the same with the averaged weights (%s %g):", t.c.name("EMADecay"), t.c.EMADecay)
	_, classified := metrics[zeroshotTop1]
	_, retrieved := metrics["clip_val_loss"]
	averaged := Metrics{}
	if err := t.measureModel(ctx, t.model, classified, retrieved, averaged); err != nil {
		return err // an interruption writes a checkpoint and puts the weights back
	}
	for name, x := range averaged {
		metrics["ema_"+name] = x
	}
	return t.restoreWeights()
}
