package preprocess

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDenormalise finds every byte again in every channel, and nothing in numbers that are of none.
func TestDenormalise(t *testing.T) {
	for _, cfg := range []Config{
		{Size: [2]int{16, 16}},
		{Size: [2]int{16, 16}, Mean: [3]float32{0.5, 0.5, 0.5}, Std: [3]float32{0.5, 0.5, 0.5}},
		{Size: [2]int{16, 16}, Mean: [3]float32{0, 0, 0}, Std: [3]float32{1, 1, 1}},
		{Size: [2]int{16, 16}, Mean: [3]float32{0.485, 0.456, 0.406}, Std: [3]float32{0.229, 0.224, 0.225}},
	} {
		tr, err := NewTransform(cfg)
		require.NoError(t, err)
		src, want := make([]float32, 2*tr.Len()), make([]uint8, 2*tr.Len())
		for i := range src {
			want[i] = uint8(i + i/256)
			src[i] = tr.table[i/256%3][want[i]]
		}
		got := make([]uint8, len(src))
		require.True(t, tr.Denormalise(got, src))
		assert.Equal(t, want, got)
		for _, wrong := range []float32{math.Nextafter32(src[700], 9), float32(math.NaN()), float32(math.Inf(1)), -1e9, 1e9} {
			right := src[700]
			src[700] = wrong
			assert.False(t, tr.Denormalise(got, src), wrong)
			src[700] = right
		}
		assert.False(t, tr.Denormalise(got, src[1:]))
		assert.False(t, tr.Denormalise(got[1:], src))
		assert.True(t, tr.Denormalise(nil, nil))
	}
}

func BenchmarkDenormalise(b *testing.B) {
	tr, err := NewTransform(Config{Size: [2]int{224, 224}})
	require.NoError(b, err)
	src := make([]float32, 16*tr.Len())
	for i := range src {
		src[i] = tr.table[i/(224*224)%3][i%256]
	}
	dst := make([]uint8, len(src))
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		require.True(b, tr.Denormalise(dst, src))
	}
}
