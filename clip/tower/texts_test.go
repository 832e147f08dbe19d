package tower

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// randomly draws the tower's weights.
func randomly[T Tower](t *testing.T, tower T) T {
	t.Helper()
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		torch.ManualSeed(3)
		for key, p := range nn.Params(tower) {
			switch {
			case p.Dim() > 1:
				s.Alias(p).NormalInPlace(0, 0.1)
			case strings.HasSuffix(key, "bias"):
				s.Alias(p).NormalInPlace(0, 0.05)
			}
		}
	}))
	return tower
}

// textTower has 48 tokens, the highest of 100 the end, and texts that are cut at the given ends.
func textTower(t *testing.T, ends ...int) (tower *Text, tokens []int64) {
	t.Helper()
	c := textConfig(t)
	tokens = make([]int64, len(ends)*48)
	for i, end := range ends {
		row := tokens[i*48:]
		for j := range end {
			row[j] = int64(7*i+11*j)%98 + 1
		}
		row[end] = 99
	}
	return randomly(t, newText(c)), tokens
}

func textConfig(t *testing.T) *Config {
	t.Helper()
	c, err := ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":8,"patch_size":4,"layers":1,"width":32,"head_width":16},
		"text_cfg":{"context_length":48,"vocab_size":100,"width":32,"heads":2,"layers":3}}`))
	require.NoError(t, err)
	return c
}

// assertClose asserts that two tensors differ by at most 1e-5 of the largest value.
func assertClose(t *testing.T, want, got []float32, what any) {
	t.Helper()
	require.Len(t, got, len(want), what)
	largest, worst := 0.0, 0.0
	for i, w := range want {
		largest = max(largest, math.Abs(float64(w)))
		worst = max(worst, math.Abs(float64(w)-float64(got[i])))
	}
	assert.LessOrEqual(t, worst, 1e-5*largest, what)
}

// TestPackedTexts holds texts without any padding against those in groups: features, and the gradients of every parameter.
func TestPackedTexts(t *testing.T) {
	tower, tokens := textTower(t, 1, 40, 2, 41, 2, 47, 20)
	encode := func(texts *Texts) (rows []float32, gradients map[string][]float32) {
		before := settled.Count(torch.LiveTensors)
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			numbers := texts.Numbers()
			y := tower.ForwardArranged(texts, torch.FromSlice(s, numbers, len(numbers)))
			rows = torch.ToSlice[float32](y.Detach())
			y.Pow(2).Sum().Backward()
			gradients = map[string][]float32{}
			var params []*torch.Tensor
			for key, p := range nn.Params(tower) {
				gradients[key] = torch.ToSlice[float32](s.Alias(p).Grad())
				params = append(params, p)
			}
			torch.ZeroGrad(params)
		}))
		assert.Equal(t, before, torch.LiveTensors())
		return rows, gradients
	}
	ends := tower.config.ends(tokens, 48)
	assert.Equal(t, []int64{1, 40, 2, 41, 2, 47, 20}, ends)
	want, wantGradients := encode(tower.Arrange(tokens, 48, torch.Float32, 0))
	for _, room := range []int{0, 1, 64, 100} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			texts := arrangeTexts(tokens, 48, ends, true, room)
			rows, gradients := encode(texts)
			assert.InDeltaSlice(t, want, rows, 1e-6)
			for key, g := range gradients {
				assertClose(t, wantGradients[key], g, key)
			}
		})
	}
}

// TestNumbersOfOthers computes one batch by the arrangement of another of the same shape, as a captured step does.
func TestNumbersOfOthers(t *testing.T) {
	tower, tokens := textTower(t, 1, 40, 2)
	_, others := textTower(t, 20, 7, 11)
	config := tower.config
	a := arrangeTexts(tokens, 48, config.ends(tokens, 48), true, 64)
	b := arrangeTexts(others, 48, config.ends(others, 48), true, 64)
	require.Equal(t, a.Rows(), b.Rows())
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		encode := func(texts, numbers *Texts) []float32 {
			n := numbers.Numbers()
			return torch.ToSlice[float32](tower.ForwardArranged(texts, torch.FromSlice(s, n, len(n))))
		}
		assert.Equal(t, encode(b, b), encode(a, b))
		assert.NotEqual(t, encode(a, a), encode(a, b))
	}))
}

// TestRoom has batches of as many texts and about as many tokens come out in one shape, so that one may take another's place.
func TestRoom(t *testing.T) {
	tower, tokens := textTower(t, 1, 40, 2, 41, 2, 47, 20)
	config := tower.config
	for _, room := range []int{1, 2, 47, 48, 64, 1000} {
		shapes := map[string]bool{}
		for shorter := range 10 {
			short := append([]int64(nil), tokens...)
			short[40-shorter+48] = 99
			texts := arrangeTexts(short, 48, config.ends(short, 48), true, room)
			assert.Zero(t, texts.Rows()%room)
			assert.Len(t, texts.places, texts.Rows())
			require.Len(t, texts.ends, len(texts.starts)-1)
			for i, end := range texts.ends {
				assert.Equal(t, end+1, texts.starts[i+1])
				n := texts.starts[i+1] - texts.starts[i]
				assert.Positive(t, n)
				assert.LessOrEqual(t, n, int64(48))
			}
			assert.Equal(t, texts.starts[len(texts.starts)-1], int64(texts.Rows()))
			shapes[fmt.Sprint(texts.Rows(), len(texts.ends), texts.longest)] = true
		}
		if room >= 64 {
			assert.LessOrEqual(t, len(shapes), 2, room)
		}
	}
}

// TestArrangeTexts refuses towers that read more of a text than what stands before its end.
func TestArrangeTexts(t *testing.T) {
	tower, tokens := textTower(t, 3, 5)
	assert.Equal(t, 2*6, tower.Arrange(tokens, 48, torch.Float32, 0).Rows(), "one group, padded to 6")
	assert.Nil(t, tower.Arrange(tokens, 48, torch.Float32, 0).starts)
	for _, change := range []func(c *TextConfig){
		func(c *TextConfig) { c.NoCausalMask = true },
		func(c *TextConfig) { c.PoolType = "last" },
		func(c *TextConfig) { c.PoolType = "first" },
	} {
		c := textConfig(t)
		change(&c.Text)
		assert.Nil(t, newText(c).Arrange(tokens, 48, torch.Float32, 0))
	}
}
