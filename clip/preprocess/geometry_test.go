package preprocess

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCropOriginRoundsHalfToEven(t *testing.T) {
	for gap, want := range []int{0, 0, 1, 2, 2, 2, 3, 4, 4, 4} {
		s, pad := window(500, 10+gap, 10)
		assert.Equal(t, want, s.from, "gap %d", gap)
		assert.Zero(t, pad)
	}
	s, pad := window(7, 7, 10)
	assert.Equal(t, span{in: 7, out: 7, count: 7}, s)
	assert.Equal(t, 1, pad)
}

func TestSizesAreTorchvisions(t *testing.T) {
	for _, c := range []struct{ w, h, n, ow, oh int }{
		{500, 333, 224, 336, 224}, {333, 500, 224, 224, 336}, {65, 64, 32, 32, 32}, {1, 500, 32, 32, 16000},
		{3, 7, 224, 224, 522}, {224, 224, 224, 224, 224},
	} {
		w, h := shorterSide(c.w, c.h, c.n)
		assert.Equal(t, [2]int{c.ow, c.oh}, [2]int{w, h})
	}
	w, h := keepRatio(1, 500, 32, 32, 1)
	assert.Equal(t, [2]int{1, 32}, [2]int{w, h}, "a side never falls to 0")
	w, h = keepRatio(500, 333, 28, 20, 0)
	assert.Equal(t, [2]int{30, 20}, [2]int{w, h})
}
