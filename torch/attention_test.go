package torch_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/goclip/goclip/torch"
)

// TestAttentionInBFloat16 compares the result and the gradients of training's attention with float32's of the same numbers: short
// sequences, whose heads are multiplied at once, and longer ones, which are libtorch's.
func TestAttentionInBFloat16(t *testing.T) {
	for _, tokens := range []int{0, 1, 5, 16, 17, 64} {
		for _, causal := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d tokens, causal %v", tokens, causal), func(t *testing.T) {
				do(t, func(s *torch.Scope) {
					torch.ManualSeed(uint64(tokens))
					qkv := torch.Randn(s, torch.CPU, 3, 3, tokens, 8*2).To(torch.CPU, torch.BFloat16) // (3, B, T, heads d): d = 8
					out := torch.Randn(s, torch.CPU, 3, 2, tokens, 8)
					of := func(dtype torch.DType) (y, gradient *torch.Tensor) {
						x := qkv.To(torch.CPU, dtype).Detach().SetRequiresGrad(true)
						parts := x.View(3, 3, tokens, 2, 8).Transpose(2, 3).Unbind(0) // (B, heads, T, d)
						y = torch.ScaledDotProductAttention(parts[0], parts[1], parts[2], causal)
						assert.Equal(t, dtype, y.DType())
						y.BackwardFrom(out.To(torch.CPU, dtype))
						return y.To(torch.CPU, torch.Float32), x.Grad().To(torch.CPU, torch.Float32)
					}
					y, gradient := of(torch.BFloat16)
					want, wantGradient := of(torch.Float32)
					assert.Equal(t, want.Shape(), y.Shape())
					assert.InDeltaSlice(t, torch.ToSlice[float32](want), torch.ToSlice[float32](y), 0.01)
					assert.InDeltaSlice(t, torch.ToSlice[float32](wantGradient), torch.ToSlice[float32](gradient), 0.02)
				})
			})
		}
	}
}
