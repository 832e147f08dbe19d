package train

import (
	"fmt"
	"math"

	"github.com/goclip/goclip/torch"
)

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// buffers are copies of what a forward pass in training changes besides gradients, a ResNet's running
// statistics, for a step that is left out.
type buffers struct{ of, were []*torch.Tensor }

func (t *stepper) keepBuffers() (b buffers, err error) {
	parameters := map[*torch.Tensor]bool{}
	for _, p := range t.model.Parameters() {
		parameters[p] = true
	}
	err = torch.NoGrad(func(s *torch.Scope) {
		for _, x := range t.model.State() {
			if !parameters[x] {
				b.of, b.were = append(b.of, x), append(b.were, s.Alias(x).Clone().Keep())
			}
		}
	})
	return b, err
}

func (b buffers) restore() error {
	return torch.NoGrad(func(s *torch.Scope) {
		for i, x := range b.of {
			s.Alias(x).CopyFrom(s.Alias(b.were[i]))
		}
	})
}

func (b buffers) free() {
	for _, x := range b.were {
		x.Free()
	}
}

// maxSkipped is how many steps in a row Config.SkipNonFinite leaves out before it gives up.
const maxSkipped = 100

// notFinite tells where a loss or gradient that is not finite comes from: the first parameter, else
// the first result of the towers on the step's micro-batches, else the first gradient. It runs the
// towers once more and leaves the generator as it was.
func (t *stepper) notFinite(micros []*micro) string {
	name, found := "", ""
	rng := torch.RNGState(t.device)
	err := torch.NoGrad(func(s *torch.Scope) {
		for key, p := range t.model.Parameters() {
			if found == "" && s.Alias(p).IsFinite().All().Item() == 0 {
				found = "the parameter " + key + " is not finite"
			}
		}
	})
	for i, m := range micros {
		if found != "" || err != nil {
			break
		}
		var at *torch.NonFinite
		at, err = torch.FirstNonFinite(func(s *torch.Scope) {
			t.precision.enter(s, t.device)
			pixels, texts := t.onDevice(s, m)
			t.encodeImage(pixels)
			t.encodeText(m)(texts)
		})
		if at == nil {
			continue
		}
		for key, p := range t.model.Parameters() {
			for _, in := range at.Inputs {
				if name == "" && p.Same(in) {
					name = " with " + key
				}
			}
		}
		found = fmt.Sprintf("the first tensor that is not finite is the result %s of %s%s", at.Output, at.Op, name)
		if len(micros) > 1 {
			found += fmt.Sprintf(" in micro-batch %d", i+1)
		}
	}
	if found == "" && err == nil {
		err = torch.NoGrad(func(s *torch.Scope) {
			for key, p := range t.model.Parameters() {
				if g := s.Alias(p).Grad(); found == "" && g != nil && g.IsFinite().All().Item() == 0 {
					found = "the gradient of " + key + " is not finite"
				}
			}
		})
	}
	if again := torch.SetRNGState(t.device, rng); err == nil {
		err = again
	}
	if err != nil {
		return err.Error()
	}
	return found
}
