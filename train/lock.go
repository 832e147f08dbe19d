package train

import (
	"errors"
	"strings"

	"github.com/goclip/goclip/clip"
)

// lock keeps the towers as they are that the options name, before the optimiser is made.
func (r *run) lock() error {
	if r.o.LockImage {
		if err := r.model.LockImage(r.o.UnlockedGroups, r.o.FreezeBNStats); err != nil {
			return err
		}
	}
	if r.o.LockText {
		if err := r.model.LockText(r.o.UnlockedLayers, r.o.FreezeLayerNorm); err != nil {
			return err
		}
	}
	if towerParameters(r.model) == 0 {
		return optionsError{errors.New("train: --lock-image and --lock-text leave only the temperature to train; drop one of them, or give --lock-image-unlocked-groups or --lock-text-unlocked-layers")}
	}
	return nil
}

// towerParameters counts the weights that learn, the temperature and the bias of the logits left out.
func towerParameters(m *clip.Model) int {
	n := 0
	for key, p := range m.Parameters() {
		if p.RequiresGrad() && !strings.HasPrefix(key, "logit_") {
			n += p.Numel()
		}
	}
	return n
}
