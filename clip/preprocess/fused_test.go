package preprocess

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wild is an image of noise with many black and white values, which take the sums of bicubic weights beyond both ends.
func wild(mode Mode, w, h int, rng *rand.Rand) *Image {
	m := newImage(mode, w, h)
	for i := range m.Pix {
		m.Pix[i] = uint8(rng.Uint32())
		if rng.UintN(2) == 0 {
			m.Pix[i] = 255 * uint8(rng.UintN(2))
		}
	}
	return m
}

// RGB that is resized and normalised in one go has the bits of Go's code: sizes round the ends of blocks and quads,
// growing and shrinking, crops, padding, and other numbers to normalise by.
func TestFusedPassesGiveTheSameBits(t *testing.T) {
	best := unit
	defer func() { unit = best }()
	rng := rand.New(rand.NewPCG(7, 11))
	var pictures []*Image
	for _, size := range [][2]int{{256, 256}, {224, 256}, {256, 224}, {21, 40}, {22, 40}, {23, 24}, {40, 23}, {131, 97},
		{320, 240}, {241, 322}, {500, 375}, {640, 480}, {229, 226}, {1000, 99}} {
		pictures = append(pictures, wild(ModeRGB, size[0], size[1], rng))
	}
	for _, size := range []int{15, 16, 17, 31, 32, 33, 48, 63, 100, 224} {
		for _, mode := range []string{Shortest, Longest, Squash} {
			cfg := DefaultConfig(size)
			cfg.ResizeMode = mode
			if size%2 == 1 {
				cfg.Interpolation = Bilinear
				cfg.Mean, cfg.Std = [3]float32{0.5, 0, 0.123}, [3]float32{0.5, 1, 0.9}
			}
			unit = 0
			plain, err := NewTransform(cfg)
			require.NoError(t, err)
			unit = best
			fused, err := NewTransform(cfg)
			require.NoError(t, err)
			for _, img := range pictures {
				want, got := make([]float32, plain.Len()), make([]float32, plain.Len())
				unit = 0
				require.NoError(t, plain.Apply(want, img))
				unit = best
				require.NoError(t, fused.Apply(got, img))
				for i := range want {
					if math.Float32bits(want[i]) != math.Float32bits(got[i]) {
						require.Failf(t, "other bits", "%dx%d to %d, %s: value %d is %v, not %v", img.Width, img.Height, size,
							mode, i, got[i], want[i])
					}
				}
			}
		}
	}
}

// A random crop has the same bits too.
func TestFusedPassesGiveTheSameCrops(t *testing.T) {
	best := unit
	defer func() { unit = best }()
	img := wild(ModeRGB, 256, 200, rand.New(rand.NewPCG(1, 3)))
	for _, aug := range []AugConfig{{}, {Scale: [2]float64{0.05, 1}}} {
		tr, err := NewTrainTransform(DefaultConfig(224), aug)
		require.NoError(t, err)
		want, got := make([]float32, tr.Len()), make([]float32, tr.Len())
		for seed := range uint64(40) {
			unit = 0
			require.NoError(t, tr.Apply(want, img, rand.New(rand.NewPCG(seed, 0))))
			unit = best
			require.NoError(t, tr.Apply(got, img, rand.New(rand.NewPCG(seed, 0))))
			require.True(t, assert.ObjectsAreEqual(want, got), "seed %d", seed)
		}
	}
}

// The sizes that data sets hold do take the fused passes where the machine has them, and the others do not.
func TestFusedPassesAreTaken(t *testing.T) {
	if unit < unitVNNI {
		t.Skip("this machine has no AVX-512 VNNI and VBMI")
	}
	for _, c := range []struct {
		mode Mode
		w, h int
		want bool
	}{
		{ModeRGB, 256, 256, true}, {ModeRGB, 500, 375, true}, {ModeRGB, 640, 480, true}, {ModeRGB, 100, 80, true},
		{ModeRGB, 21, 21, false},     // a row has less than 64 bytes
		{ModeRGB, 224, 300, false},   // a crop alone
		{ModeRGB, 3000, 2000, false}, // too many taps
		{ModeL, 256, 256, false},
	} {
		tr, err := NewTransform(DefaultConfig(224))
		require.NoError(t, err)
		require.NotNil(t, tr.norm)
		img := newImage(c.mode, c.w, c.h)
		dst := make([]float32, tr.Len())
		assert.Equal(t, c.want, tr.scale.normalised(new(scratch), dst, tr.norm, img, place(&tr.cfg, c.w, c.h)), "%+v", c)
	}
}

func TestDigits(t *testing.T) {
	for _, k := range []int32{0, 1, -1, 127, 128, -128, -129, 32767, 32768, -32768, -32769, 1 << 22, -1 << 22,
		127 * 65793} {
		h, m, l, ok := digits(k)
		assert.True(t, ok, k)
		assert.Equal(t, k, 65536*int32(h)+256*int32(m)+int32(l))
	}
	for _, k := range []int32{1 << 23, -1<<23 - 1<<16, math.MaxInt32, math.MinInt32} {
		_, _, _, ok := digits(k)
		assert.False(t, ok, k)
	}
}

// The last sum that 32 bits hold is allowed, the next one is not.
func TestNarrow(t *testing.T) {
	most := int32((math.MaxInt32 - half) / 255)
	w := weights{first: []int32{0}, n: []int32{2}, stride: 2, fixed: []int32{most - 5, -5}}
	assert.True(t, w.narrow())
	w.fixed[1] = -6
	assert.False(t, w.narrow())
}
