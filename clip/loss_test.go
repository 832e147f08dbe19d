package clip

import (
	"testing"

	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTiledLossOfModel goes from pixels to the weights' gradients, once through the losses in tiles and once by autograd alone.
func TestTiledLossOfModel(t *testing.T) {
	losses := map[string]func(loss.Pairs, loss.Gatherer, int) loss.Gradient{"contrastive": loss.TiledContrastive, "sigmoid": loss.TiledSigmoid}
	for name, c := range map[string]*tower.Config{"contrastive": golden.Config(t, "tiny"), "sigmoid": golden.Config(t, "tiny")} {
		bias := -10.0
		if name == "sigmoid" {
			c.InitLogitBias = &bias
		}
		m := goldenModel(t, c)
		before := settled.Count(torch.LiveTensors)
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			pixels, tokens := golden.Pixels(s, "pixels", c), golden.Tokens(s, "tokens", c)
			value := m.Loss(pixels, tokens)
			var weights []*torch.Tensor
			for _, w := range m.Parameters() {
				weights = append(weights, w)
			}
			value.Backward()
			want := torch.Grads(s, weights)
			torch.ZeroGrad(weights)

			p := loss.Pairs{Images: m.EncodeImage(pixels).Normalize(1), Texts: m.EncodeText(tokens).Normalize(1), Bias: m.LogitBias}
			p.Scale = pixels.Borrow(m.LogitScale).Exp()
			r := losses[name](p, nil, 3)
			assert.InEpsilon(t, value.Item(), r.Loss.Item(), 1e-6)
			p.Images.BackwardFrom(r.Images)
			p.Texts.BackwardFrom(r.Texts)
			p.Scale.BackwardFrom(r.Scale)
			if p.Bias != nil {
				p.Bias.BackwardFrom(r.Bias)
			}
			for i, got := range torch.Grads(s, weights) {
				a, b := torch.ToSlice[float32](want[i]), torch.ToSlice[float32](got)
				assert.LessOrEqual(t, worst(a, b, max(largest(a), 1e-6)), 1e-5, "%s, %s", name, weights[i])
			}
		}))
		torch.ZeroGrad([]*torch.Tensor{m.LogitScale})
		assert.Equal(t, before, torch.LiveTensors())
	}
}
