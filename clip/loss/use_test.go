package loss

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestTiledLossUnderAutocast: the products are float32 where autocast would make them bfloat16, and gradients go back into
// features of half precision.
func TestTiledLossUnderAutocast(t *testing.T) {
	for name, loss := range losses {
		c := lossCase{n: 9, width: 5, dtype: torch.BFloat16, scale: 100, images: repeated(9, 5, 1), teacher: true}
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			p := c.pairs(s, name, 0, c.n)
			var want [][]float64
			for _, part := range loss(p, nil, 4).list() {
				want = append(want, doubles(part))
			}
			s.Autocast(torch.CPU, torch.BFloat16)
			leaf := p.Images.Detach().To(torch.CPU, torch.Float32).SetRequiresGrad(true)
			p.Images = leaf.To(torch.CPU, torch.BFloat16)
			r := loss(p, nil, 4)
			for i, part := range r.list() {
				assert.Equal(t, want[i], doubles(part), "%s, %s", name, lossParts[i])
				assert.False(t, part.RequiresGrad())
			}
			p.Images.BackwardFrom(r.Images)
			assert.LessOrEqual(t, apart(want[1], doubles(leaf.Grad())), 1e-2, name) // rounded to bfloat16 on the way
		}))
	}
}

func TestPairsRefused(t *testing.T) {
	before := settled.Count(torch.LiveTensors)
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		zeros := func(dtype torch.DType, shape ...int) *torch.Tensor { return torch.Zeros(s, torch.CPU, dtype, shape...) }
		for _, c := range []struct {
			spoil func(p *Pairs)
			tile  int
			rank  int
			loss  string
			want  string
		}{
			{spoil: func(p *Pairs) { p.Texts = zeros(torch.Float32, 3, 2) }, want: "the pairs have images [4 2] and texts [3 2], which should both be (K, E)"},
			{spoil: func(p *Pairs) { p.Images = zeros(torch.Float32, 4, 3) }, want: "images [4 3] and texts [4 2]"},
			{spoil: func(p *Pairs) { p.Images, p.Texts = zeros(torch.Float32, 0, 2), zeros(torch.Float32, 0, 2) }, want: "images [0 2]"},
			{spoil: func(p *Pairs) { p.Texts = nil }, want: "the pairs lack Images, Texts or Scale"},
			{spoil: func(p *Pairs) { p.Scale = zeros(torch.Float32, 1) }, want: "the scale [1], which should be one number"},
			{spoil: func(p *Pairs) { p.Bias = zeros(torch.Float32, 4) }, want: "the bias is [4], which should be one number"},
			{spoil: func(p *Pairs) { p.ImageIDs = zeros(torch.Int64, 5) }, want: "ImageIDs are int64[5], which should be int64[4]"},
			{spoil: func(p *Pairs) { p.TextIDs = zeros(torch.Int32, 4) }, want: "TextIDs are int32[4], which should be int64[4]"},
			{spoil: func(p *Pairs) { p.Teacher = &Teacher{} }, want: "the teacher's pairs lack Images, Texts or Scale"},
			{spoil: func(p *Pairs) {
				p.Teacher = &Teacher{zeros(torch.Float32, 2, 7), zeros(torch.Float32, 2, 7), zeros(torch.Float32)}
			}, want: "the teacher has 2 pairs of 4"},
			{spoil: func(p *Pairs) {
				p.Teacher = &Teacher{zeros(torch.Float32, 4, 7), zeros(torch.Float32, 4, 7), zeros(torch.Float32)}
			}, loss: "sigmoid", want: "Teacher should be nil"},
			{tile: -1, want: "a tile has -1 rows; 0 chooses"},
			{rank: 3, want: "the rank 3 must be below 2, the number of processes"},
		} {
			p := Pairs{Images: zeros(torch.Float32, 4, 2), Texts: zeros(torch.Float32, 4, 2), Scale: zeros(torch.Float32)}
			if c.spoil != nil {
				c.spoil(&p)
			}
			for name, loss := range losses {
				if c.loss == "" || c.loss == name {
					err := torch.Do(func(*torch.Scope) { loss(p, channels{c.rank, make([][]chan []byte, max(1, min(2, c.rank)))}, c.tile) })
					assert.ErrorContains(t, err, c.want)
				}
			}
		}
		// What fails inside reaches the caller.
		p := Pairs{Images: zeros(torch.Float32, 4, 2), Texts: zeros(torch.Float32, 4, 2), Scale: zeros(torch.Float32)}
		assert.ErrorContains(t, torch.Do(func(*torch.Scope) { TiledContrastive(p, broken{}, 0) }), "the other process has gone")
	}))
	assert.Equal(t, before, torch.LiveTensors())
}

// broken is a network that fails.
type broken struct{}

func (broken) Rank() int { return 0 }
func (broken) Size() int { return 2 }
func (broken) AllGather(*torch.Tensor) *torch.Tensor {
	panic(&torch.Error{Op: "all_gather", Msg: "the other process has gone"})
}
