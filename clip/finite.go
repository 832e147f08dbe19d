package clip

import (
	"errors"
	"fmt"
	"math"

	"github.com/goclip/goclip/torch"
)

// ErrNotFinite is inside the error for features or weights that are NaN or infinite: of a damaged
// file, or of a training that diverged. The sentence names the first such tensor.
var ErrNotFinite = errors.New("not finite")

// CheckFinite fails with [ErrNotFinite] where a weight is NaN or infinite. It reads all weights;
// encoding looks at the features alone.
func (m *Model) CheckFinite() error {
	bad := ""
	err := torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.State() {
			if p.DType() == torch.Int64 || p.Numel() == 0 { // a count of batches
				continue
			}
			if s.Alias(p).IsFinite().All().Item() == 0 {
				bad = key
				return
			}
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("clip: %w", err)
	case bad != "":
		return marked{fmt.Errorf("clip: %s: the tensor %s holds NaN or infinite numbers; take the weights of another checkpoint, or fetch the file again", m.Name, bad), ErrNotFinite}
	}
	return nil
}

// finite refuses features that are no numbers, and names the weight at fault.
func (m *Model) finite(rows []float32) error {
	for _, x := range rows {
		if v := float64(x); math.IsNaN(v) || math.IsInf(v, 0) {
			if err := m.CheckFinite(); err != nil {
				return err
			}
			return marked{fmt.Errorf("clip: %s: the features are NaN or infinite, though every weight is finite; in half precision float32 may help", m.Name), ErrNotFinite}
		}
	}
	return nil
}
