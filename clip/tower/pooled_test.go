package tower

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// TestPooled holds the last block at one position against the whole block, and texts of several lengths against padded ones:
// values, and gradients of the input and of every parameter.
func TestPooled(t *testing.T) {
	c := textConfig(t)
	image, text := randomly(t, newViT(c)).Transformer, randomly(t, newText(c)).Transformer
	for name, c := range map[string]struct {
		transformer *Transformer
		at          []int64
		rows        *Ragged
	}{
		"class token":     {image, nil, nil},
		"end token":       {text, []int64{4, 0, 6, 2}, nil},
		"several lengths": {text, []int64{2, 0, 6, 5}, &Ragged{groups: lengthGroups{{2, 3}, {2, 7}}}},
	} {
		t.Run(name, func(t *testing.T) {
			const b, n = 4, 7
			w := c.transformer.Blocks[0].Ln1.Weight.Size(0)
			data := make([]float32, b*n*w)
			draw := rand.New(rand.NewPCG(1, 2))
			for i := range data {
				data[i] = 2*draw.Float32() - 1
			}
			forward := func(pooled bool) (values []float32, grads [][]float32) {
				require.NoError(t, torch.Do(func(s *torch.Scope) {
					x := torch.FromSlice(s, data, b, n, w).SetRequiresGrad(true)
					at := torch.Zeros(s, torch.CPU, torch.Int64, b)
					if c.at != nil {
						at = torch.FromSlice(s, c.at, b)
					}
					var y *torch.Tensor
					switch {
					case pooled && c.rows != nil:
						rows := torch.Cat(1, x.Narrow(0, 0, 2).Narrow(1, 0, 3).Reshape(1, 6, w), x.Narrow(0, 2, 2).Reshape(1, 14, w))
						y = c.transformer.Pooled(rows, torch.FromSlice(s, []int64{2, 3, 6 + 6, 13 + 5}, b), c.rows)
					case pooled && c.at == nil:
						y = c.transformer.Pooled(x, nil, nil)
					case pooled:
						y = c.transformer.Pooled(x, at, nil)
					default:
						y = c.transformer.Forward(x, nil, nil).Index(torch.Arange(s, torch.CPU, b), at)
					}
					values = torch.ToSlice[float32](y.Detach())
					inputs := []*torch.Tensor{x}
					for _, block := range c.transformer.Blocks {
						inputs = append(inputs, block.Attn.InWeight, block.Attn.InBias, block.Attn.Out.Weight, block.MLP.Fc.Weight, block.Ln1.Bias, block.Ln2.Weight)
					}
					for _, g := range torch.Gradients(y.Pow(2).Sum(), inputs...) {
						grads = append(grads, torch.ToSlice[float32](g))
					}
				}))
				return values, grads
			}
			want, wantGrads := forward(false)
			got, gotGrads := forward(true)
			assertClose(t, want, got, "values")
			for i := range wantGrads {
				assertClose(t, wantGrads[i], gotGrads[i], i)
			}
		})
	}
}
