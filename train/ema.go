package train

import (
	"context"
	"fmt"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
)

// ema is an exponential moving average of what learns: after step t, average = d * average + (1 - d) * weight, with d =
// min(decay, (1 + t) / (10 + t)), so that the first steps, far from the end, are soon forgotten (tf.train's
// ExponentialMovingAverage; Polyak and Juditsky, 1992). A ResNet's running statistics are those of the run.
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

// swap exchanges the averages with the model's weights, exactly, so that a second call undoes the first.
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

// restoreWeights puts the trained weights back into their place, where an evaluation of others was interrupted.
func (r *run) restoreWeights() error {
	if r.trained != nil {
		r.model = r.trained
	}
	if r.ema == nil || !r.ema.inModel {
		return nil
	}
	return r.ema.swap()
}

// averageWeights follows an optimiser step.
func (r *run) averageWeights() error {
	if r.ema == nil {
		return nil
	}
	if err := r.ema.update(r.state.Step); err != nil {
		return fmt.Errorf("train: --ema-decay: %w", err)
	}
	return nil
}

// evaluateAverage adds what the averaged weights reach to metrics, each under its name behind "ema_".
func (r *run) evaluateAverage(ctx context.Context, metrics map[string]float64) error {
	if r.ema == nil || r.state.Step == 0 || len(metrics) == 0 {
		return nil
	}
	if err := r.ema.swap(); err != nil {
		return err
	}
	r.logf("the same with the averaged weights (--ema-decay %g):", r.o.EMADecay)
	averaged := map[string]float64{}
	_, classified := metrics[zeroshotTop1]
	_, retrieved := metrics["clip_val_loss"]
	var err error
	if classified {
		err = r.classify(ctx, averaged)
	}
	if retrieved && err == nil {
		err = r.retrieve(ctx, averaged)
	}
	if err != nil {
		return err // an interruption has written a checkpoint and put the weights back
	}
	for name, x := range averaged {
		metrics["ema_"+name] = x
	}
	return r.restoreWeights()
}
