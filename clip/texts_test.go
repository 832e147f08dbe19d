package clip

import (
	"slices"
	"testing"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// textModel has a text tower of 48 tokens, the highest of 100 the end, and seven texts that are cut at the given ends.
func textModel(t *testing.T, ends ...int) (m *Model, tokens []int64) {
	t.Helper()
	c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":8,"patch_size":4,"layers":1,"width":32,"head_width":16},
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

// TestTextsDoNotMix encodes texts of several lengths together and one by one. That the features and gradients are
// open_clip's is TestParity.
func TestTextsDoNotMix(t *testing.T) {
	m, tokens := textModel(t, 1, 40, 2, 41, 2, 47, 20)
	const n, length = 7, 48
	require.Len(t, slices.Compact(m.Text.(tower.Measurer).Lengths(tokens, length, torch.Float32)), 3, "groups")
	together, err := m.TextFeatures(tokens, n)
	require.NoError(t, err)
	for i := range n {
		alone, err := m.TextFeatures(tokens[i*length:(i+1)*length], 1)
		require.NoError(t, err)
		assert.InDeltaSlice(t, alone, together[i*16:(i+1)*16], 1e-6, i)
	}
}
