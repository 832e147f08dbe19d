package loss

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
)

// TestLossParity holds the losses in tiles, computed in float32, against open_clip's in float64.
func TestLossParity(t *testing.T) {
	g := golden.Open(t, "losses")
	for _, c := range []struct {
		name    string
		scale   float32
		bias    float32
		teacher bool
		loss    func(Pairs, Gatherer, int) Gradient
	}{
		{name: "clip-14", scale: 14.25, loss: TiledContrastive},
		{name: "clip-100", scale: 100, loss: TiledContrastive},
		{name: "distill", scale: 14.25, teacher: true, loss: TiledContrastive},
		{name: "siglip", scale: 10, bias: -10, loss: TiledSigmoid},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, torch.Do(func(s *torch.Scope) {
				features := func(name string) *torch.Tensor {
					data := g.Floats(name)
					return torch.FromSlice(s, data, 13, len(data)/13)
				}
				number := func(v float32) *torch.Tensor { return torch.FromSlice(s, []float32{v}) }
				p := Pairs{Images: features("images"), Texts: features("texts"), Scale: number(c.scale)}
				if c.bias != 0 {
					p.Bias = number(c.bias)
				}
				if c.teacher {
					p.Teacher = &Teacher{features("teacher_images"), features("teacher_texts"), number(50)}
				}
				for _, tile := range []int{0, 5} {
					got := c.loss(p, nil, tile)
					for i, tensor := range got.list() {
						part := lossParts[i]
						d := apart(g.Doubles(c.name+"."+part), doubles(tensor))
						assert.LessOrEqual(t, d, 1e-6, "%s, tiles of %d", part, tile)
						t.Logf("%s, tiles of %d: %.1e of the largest value", part, tile, d)
					}
				}
			}))
		})
	}
}
