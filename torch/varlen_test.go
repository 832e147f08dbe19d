package torch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestVarlenAttention holds sequences without padding against each of them alone, with gradients.
func TestVarlenAttention(t *testing.T) {
	const heads, d = 2, 8
	lengths := []int{3, 1, 5, 0, 2}
	rows, starts := 0, []int32{0}
	for _, n := range lengths {
		rows += n
		starts = append(starts, int32(rows))
	}
	for _, device := range devices() {
		dtype, tolerance := torch.Float32, 1e-6
		if device != torch.CPU {
			dtype, tolerance = torch.BFloat16, 2e-2
		}
		for _, causal := range []bool{true, false} {
			before := settled.Count(torch.LiveTensors)
			require.NoError(t, torch.Do(func(s *torch.Scope) {
				torch.ManualSeed(1)
				var leaves, copies [3]*torch.Tensor
				for i := range leaves {
					leaves[i] = torch.Randn(s, torch.CPU, rows, heads, d).To(device, dtype).Detach().SetRequiresGrad(true)
					copies[i] = leaves[i].Detach().To(torch.CPU, torch.Float32).Clone().SetRequiresGrad(true)
				}
				packed := torch.Sequences{torch.FromSlice(s, starts, len(starts)).To(device, torch.Int32), 5}
				y := torch.VarlenAttention(leaves[0], leaves[1], leaves[2], packed, packed, causal)
				require.Equal(t, []int{rows, heads, d}, y.Shape())
				y.To(torch.CPU, torch.Float32).Pow(2).Sum().Backward()
				for i, n := range lengths {
					if n == 0 {
						continue
					}
					var part [3]*torch.Tensor
					for j := range part {
						part[j] = copies[j].Narrow(0, int(starts[i]), n).Transpose(0, 1).Unsqueeze(0)
					}
					want := torch.ScaledDotProductAttention(part[0], part[1], part[2], causal).Squeeze(0).Transpose(0, 1)
					have := y.Narrow(0, int(starts[i]), n).To(torch.CPU, torch.Float32)
					assert.InDeltaSlice(t, torch.ToSlice[float32](want.Contiguous()), torch.ToSlice[float32](have.Contiguous()), tolerance)
					want.Pow(2).Sum().Backward()
				}
				for j := range leaves {
					assert.InDeltaSlice(t, torch.ToSlice[float32](copies[j].Grad()), torch.ToSlice[float32](leaves[j].Grad().To(torch.CPU, torch.Float32)), 10*tolerance)
				}
			}))
			assert.Equal(t, before, torch.LiveTensors())
		}
	}
	err := torch.Do(func(s *torch.Scope) {
		x := torch.Randn(s, torch.CPU, 2, 1, 8)
		one := torch.Sequences{torch.FromSlice(s, []int32{0, 2}, 2), 2}
		two := torch.Sequences{torch.FromSlice(s, []int32{0, 1, 2}, 3), 1}
		torch.VarlenAttention(x, x, x, one, two, false)
	})
	assert.EqualError(t, err, "torch: varlen_attention(): there are 1 sequences of queries and 2 of keys")
}

// TestVarlenAttentionOfOneQuery has each sequence asked by one query.
func TestVarlenAttentionOfOneQuery(t *testing.T) {
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		q, kv := torch.Randn(s, torch.CPU, 2, 1, 8), torch.Randn(s, torch.CPU, 5, 1, 8)
		y := torch.VarlenAttention(q, kv, kv, torch.Sequences{torch.Arange(s, torch.CPU, 3).To(torch.CPU, torch.Int32), 1}, torch.Sequences{torch.FromSlice(s, []int32{0, 2, 5}, 3), 3}, false)
		for i, part := range []*torch.Tensor{kv.Narrow(0, 0, 2), kv.Narrow(0, 2, 3)} {
			rows := part.Transpose(0, 1).Unsqueeze(0)
			want := torch.ScaledDotProductAttention(q.Narrow(0, i, 1).Unsqueeze(0), rows, rows, false)
			assert.InDeltaSlice(t, torch.ToSlice[float32](want), torch.ToSlice[float32](y.Narrow(0, i, 1)), 1e-6)
		}
	}))
}

func TestProductType(t *testing.T) {
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		assert.Equal(t, torch.Float32, torch.Ones(s, torch.CPU, torch.Float32, 1).ProductType())
		assert.Equal(t, torch.BFloat16, torch.Ones(s, torch.CPU, torch.BFloat16, 1).ProductType())
		s.Autocast(torch.CPU, torch.BFloat16)
		assert.Equal(t, torch.BFloat16, torch.Ones(s, torch.CPU, torch.Float32, 1).ProductType())
	}))
	x := torch.Ones(nil, torch.CPU, torch.Float32, 1)
	defer x.Free()
	assert.Equal(t, torch.Float32, x.ProductType())
}

// devices is the CPU and, where there is one, a CUDA device.
func devices() []torch.Device {
	if d, err := torch.ParseDevice("cuda"); err == nil {
		return []torch.Device{torch.CPU, d}
	}
	return []torch.Device{torch.CPU}
}
