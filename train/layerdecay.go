package train

import (
	"cmp"
	"math"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch/optim"
)

// decayByLayer parts groups by learning rate: a parameter's is the whole one times decay^depth, depth being that of
// [clip.Model.Depths]. It is open_clip's --image-layer-decay and --text-layer-decay (open_clip_train/optim.py
// layer_decay_param_groups), after Clark et al., arXiv 2003.10555. A decay of 0 or 1 changes nothing. The largest learning
// rate comes first.
func decayByLayer(m *clip.Model, groups []optim.Group, image, text float64) []optim.Group {
	off := func(decay float64) bool { return decay == 0 || decay == 1 }
	if off(image) && off(text) {
		return groups
	}
	imageDepths, textDepths := m.Depths()
	scale := func(key string) float64 {
		if depth, ok := imageDepths[key]; ok && !off(image) {
			return math.Pow(image, float64(depth))
		}
		if depth, ok := textDepths[key]; ok && !off(text) {
			return math.Pow(text, float64(depth))
		}
		return 1
	}
	var scaled []optim.Group
	for _, g := range groups {
		for _, p := range g.Params {
			s := scale(p.Name)
			i := slices.IndexFunc(scaled, func(o optim.Group) bool { return o.LRScale == s && o.WeightDecay == g.WeightDecay })
			if i < 0 {
				i = len(scaled)
				scaled = append(scaled, optim.Group{WeightDecay: g.WeightDecay, LRScale: s})
			}
			scaled[i].Params = append(scaled[i].Params, p)
		}
	}
	slices.SortStableFunc(scaled, func(a, b optim.Group) int { return cmp.Compare(b.LRScale, a.LRScale) })
	return scaled
}
