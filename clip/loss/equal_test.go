package loss

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
)

// TestEqualCaptions has a caption twice. The softmax loss is the same whether the two are known to
// be equal or not, because their logits are; SigLIP's, which judges each pair alone, is not.
func TestEqualCaptions(t *testing.T) {
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		features := func(key string) *torch.Tensor {
			return torch.FromSlice(s, golden.Uniform(key, 4*8), 4, 8).Normalize(1)
		}
		texts := features("texts")
		p := Pairs{Images: features("images"), Texts: torch.Cat(0, texts.Narrow(0, 0, 3), texts.Narrow(0, 1, 1)),
			Scale: torch.FromSlice(s, []float32{10}).Reshape()}
		known := p
		known.TextIDs = torch.FromSlice(s, []int64{1, 2, 3, 2}, 4)
		assert.InDelta(t, TiledContrastive(p, nil, 0).Loss.Item(), TiledContrastive(known, nil, 0).Loss.Item(), 1e-6)
		p.Bias = torch.FromSlice(s, []float32{-10}).Reshape()
		known.Bias = p.Bias
		assert.NotEqual(t, TiledSigmoid(p, nil, 0).Loss.Item(), TiledSigmoid(known, nil, 0).Loss.Item())
	}))
}
