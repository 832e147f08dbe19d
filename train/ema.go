package train

import (
	"context"
	"iter"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
)

// ema is an exponential moving average of what learns: after step t, average = d * average + (1 -
// d) * weight, with d = min(decay, (1 + t) / (10 + t)), so that the first steps, far from the end,
// are soon forgotten (tf.train's ExponentialMovingAverage; Polyak and Juditsky, 1992). A ResNet's
// running statistics are those of the run.
type ema struct {
	decay    float64
	params   []optim.Param
	averages []*torch.Tensor
	inModel  bool // the averages stand in the model and the weights here
}

var opForeachLerp = torch.NewOp("aten::_foreach_lerp_.Scalar")

func newEMA(decay float64, params []optim.Param) (*ema, error) {
	e := &ema{decay: decay, params: params}
	err := torch.NoGrad(func(s *torch.Scope) {
		for _, p := range params {
			e.averages = append(e.averages, s.Alias(p.T).Clone().Keep())
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
			averages, weights = append(averages, s.Alias(e.averages[i])), append(weights, s.Alias(p.T))
		}
		opForeachLerp.Run(s, averages, weights, 1-d)
	})
}

// swap exchanges the averages with the model's weights, exactly, so that a second call undoes the
// first.
func (e *ema) swap() error {
	e.inModel = !e.inModel
	return torch.NoGrad(func(s *torch.Scope) {
		for i, p := range e.params {
			weight, average := s.Alias(p.T), s.Alias(e.averages[i])
			was := weight.Clone()
			weight.CopyFrom(average)
			average.CopyFrom(was)
			was.Free()
		}
	})
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
	if t.ema == nil || !t.ema.inModel {
		return nil
	}
	return t.ema.swap()
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
	if err := t.ema.swap(); err != nil {
		return err
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
