package clip

import (
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Depths tells, by the keys of [Model.Parameters], how far below the top of its tower a parameter's group is: 0 for the
// last group of [Model.LockImage] and of [Model.LockText], 1 for the one before it. Depth 0 have also the parameters that
// are above all groups or in none: a projection that always learns, an attentional pool, the temperature.
func (m *Model) Depths() (image, text map[string]int) {
	keys := map[*torch.Tensor]string{}
	for key, p := range m.Parameters() {
		keys[p] = key
	}
	of := func(t Tower) map[string]int {
		depths := map[string]int{}
		g, ok := t.(tower.Grouper)
		if !ok {
			return depths
		}
		groups := g.Groups()
		for i, g := range groups {
			for _, p := range nn.Params([]any(g)) {
				depths[keys[p]] = len(groups) - 1 - i
			}
		}
		return depths
	}
	return of(m.Visual), of(m.Text)
}
