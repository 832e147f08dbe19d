package train

import (
	"fmt"
	"slices"

	"github.com/goclip/goclip/torch/optim"
)

// noteIdle tells of fields that were given and change nothing in this run: what somebody expects of
// them does not happen.
func (t *Trainer) noteIdle(groups []optim.Group) {
	c := &t.c
	note := func(idle bool, field string, value any, why string) {
		if idle {
			t.notes = append(t.notes, fmt.Sprintf(c.words("WARNING: {"+field+"} %v has no effect: "+why), value))
		}
	}
	note(c.TensorBoard && t.dir == "", "TensorBoard", true, "the run keeps nothing")
	cooldown := c.Schedule == "const-cooldown"
	note(!cooldown && c.CooldownEndLR != 0, "CooldownEndLR", c.CooldownEndLR, "{Schedule} is "+c.Schedule)
	note(!cooldown && c.CooldownPower != 1, "CooldownPower", c.CooldownPower, "{Schedule} is "+c.Schedule)
	note(c.SkipSchedule && c.Warmup > 0, "Warmup", c.Warmup, "{SkipSchedule} keeps the rate from the first step on")
	note(c.SkipSchedule && cooldown, "Schedule", c.Schedule, "{SkipSchedule} keeps the rate to the last step")
	learns := slices.ContainsFunc(groups, func(g optim.Group) bool { return slices.ContainsFunc(g.Params, isWord) })
	note(c.TokenLR > 0 && !learns, "TokenLR", c.TokenLR, "no token embedding learns")
	image, text := t.model.Depths()
	without := func(decay float64, depths map[string]int) bool { return decay != 0 && decay != 1 && len(depths) == 0 }
	note(without(c.ImageLayerDecay, image), "ImageLayerDecay", c.ImageLayerDecay, fmt.Sprintf("a %T has no groups", t.model.Visual))
	note(without(c.TextLayerDecay, text), "TextLayerDecay", c.TextLayerDecay, fmt.Sprintf("a %T has no groups", t.model.Text))
}
