package clip

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// Interpolate sets each weight of m, the temperature and running statistics among them, to (1 - alpha) * start + alpha * m
// (WiSE-FT; Wortsman et al., arXiv 2109.01903): with start a model and m its fine-tuning, an alpha between 0 and 1 keeps
// most of the zero-shot accuracy of the one and of the new knowledge of the other. Models of different configs or shapes
// are refused, and m stays as it was.
func (m *Model) Interpolate(start *Model, alpha float64) error {
	if !(alpha >= 0 && alpha <= 1) {
		return fmt.Errorf("clip: alpha %g: must be between 0 and 1", alpha)
	}
	if m.lora != nil || start.lora != nil {
		return errors.New("clip: a model with LoRA is not interpolated: save it, which adds the products to the weights, and open what was saved")
	}
	theirs := maps.Collect(start.State())
	var problems []string
	n := 0
	for key, p := range m.State() {
		n++
		switch q := theirs[key]; {
		case q == nil:
			problems = append(problems, "missing "+key)
		case !slices.Equal(p.Shape(), q.Shape()):
			problems = append(problems, fmt.Sprintf("%s has the shape %v, not %v", key, q.Shape(), p.Shape()))
		}
	}
	if n < len(theirs) {
		problems = append(problems, fmt.Sprintf("it has %d weights more", len(theirs)-n))
	}
	if len(problems) == 0 && computes(m.Config) != computes(start.Config) {
		problems = append(problems, "the shapes are the same and the configs differ: "+computes(start.Config)+" and "+computes(m.Config))
	}
	if len(problems) > 0 {
		return fmt.Errorf("clip: %s and %s are different models: %s", start.Name, m.Name, strings.Join(problems, "; "))
	}
	err := torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.State() {
			if p.DType() == torch.Int64 {
				continue // a count
			}
			own, other := s.Alias(p), s.Alias(theirs[key]).To(p.Device(), p.DType())
			mixed := other.MulScalar(1 - alpha).Add(own.MulScalar(alpha))
			own.CopyFrom(mixed)
			mixed.Free()
			other.Free()
		}
	})
	if err != nil {
		return fmt.Errorf("clip: interpolation: %w", err)
	}
	return errors.Join(start.CheckWeights(), m.CheckWeights())
}

// computes is the config as text without what only training and new weights take from it.
func computes(c *tower.Config) string {
	d := c.Clone()
	d.Vision.PatchDropout, d.InitLogitScale, d.InitLogitBias = 0, nil, nil
	text, err := json.Marshal(d)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
