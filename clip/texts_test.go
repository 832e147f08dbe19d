package clip

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// textModel has a text tower of 48 tokens, the highest of 100 the end, and seven texts that are cut at the given ends.
func textModel(t *testing.T, ends ...int) (m *Model, tokens []int64) {
	t.Helper()
	c, err := ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":8,"patch_size":4,"layers":1,"width":32,"head_width":16},
		"text_cfg":{"context_length":48,"vocab_size":100,"width":32,"heads":2,"layers":3}}`))
	require.NoError(t, err)
	m, err = New(c, 3)
	require.NoError(t, err)
	tokens = make([]int64, len(ends)*48)
	for i, end := range ends {
		row := tokens[i*48:]
		for j := range end {
			row[j] = int64(7*i+11*j)%98 + 1
		}
		row[end] = 99
	}
	return m, tokens
}

// TestPackedTexts holds texts without any padding against those in groups: features, and the gradients of every parameter.
func TestPackedTexts(t *testing.T) {
	m, tokens := textModel(t, 1, 40, 2, 41, 2, 47, 20)
	tower := m.Text.(*Text)
	encode := func(texts *Texts) (rows []float32, gradients map[string][]float32) {
		before := torch.LiveTensors()
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			numbers := texts.Numbers()
			y := m.EncodeArranged(texts, torch.FromSlice(s, numbers, len(numbers)))
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
	want, wantGradients := encode(m.ArrangeTexts(tokens, torch.Float32, 0))
	for _, room := range []int{0, 1, 64, 100} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			texts := arrangeTexts(tokens, 48, ends, true, room)
			rows, gradients := encode(texts)
			assert.InDeltaSlice(t, want, rows, 1e-6)
			for key, g := range gradients {
				assert.LessOrEqual(t, worst(wantGradients[key], g, largest(wantGradients[key])), tolerance, key)
			}
		})
	}
}

// TestNumbersOfOthers computes one batch by the arrangement of another of the same shape, as a captured step does.
func TestNumbersOfOthers(t *testing.T) {
	m, tokens := textModel(t, 1, 40, 2)
	_, others := textModel(t, 20, 7, 11)
	config := m.Text.(*Text).config
	a := arrangeTexts(tokens, 48, config.ends(tokens, 48), true, 64)
	b := arrangeTexts(others, 48, config.ends(others, 48), true, 64)
	require.Equal(t, a.Rows(), b.Rows())
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		encode := func(texts, numbers *Texts) []float32 {
			n := numbers.Numbers()
			return torch.ToSlice[float32](m.EncodeArranged(texts, torch.FromSlice(s, n, len(n))))
		}
		assert.Equal(t, encode(b, b), encode(a, b))
		assert.NotEqual(t, encode(a, a), encode(a, b))
	}))
}

// TestRoom has batches of as many texts and about as many tokens come out in one shape, so that one may take another's place.
func TestRoom(t *testing.T) {
	m, tokens := textModel(t, 1, 40, 2, 41, 2, 47, 20)
	config := m.Text.(*Text).config
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
	m, tokens := textModel(t, 3, 5)
	assert.Equal(t, 2*6, m.ArrangeTexts(tokens, torch.Float32, 0).Rows(), "one group, padded to 6")
	assert.Nil(t, m.ArrangeTexts(tokens, torch.Float32, 0).starts)
	for _, change := range []func(c *TextConfig){
		func(c *TextConfig) { c.NoCausalMask = true },
		func(c *TextConfig) { c.PoolType = "last" },
		func(c *TextConfig) { c.PoolType = "first" },
	} {
		c := *m.Config
		change(&c.Text)
		other, err := New(&c, 1)
		require.NoError(t, err)
		assert.Nil(t, other.ArrangeTexts(tokens, torch.Float32, 0))
	}
}
