package preprocess

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every vector unit of this machine gives the bytes that Go's code gives: all channel counts, both filters, growing
// and shrinking, one row and one column, and windows that start inside the image.
func TestVectorUnitsGiveTheSameBytes(t *testing.T) {
	best := unit
	defer func() { unit = best }()
	rng := rand.New(rand.NewPCG(3, 5))
	noise := func(mode Mode, w, h int) *Image {
		m := newImage(mode, w, h)
		for i := range m.Pix {
			m.Pix[i] = uint8(rng.Uint32() >> (8 * rng.UintN(4)))
			if rng.UintN(3) == 0 {
				m.Pix[i] = 255 * uint8(rng.UintN(2)) // sums beyond 0 and 255
			}
		}
		return m
	}
	var cases []*Image
	for _, mode := range []Mode{ModeL, ModeLA, ModeRGB, ModeRGBA, ModeCMYK} {
		for _, size := range [][2]int{{1, 1}, {2, 19}, {19, 2}, {33, 32}, {97, 41}, {41, 97}, {5, 400}, {400, 5}} {
			cases = append(cases, noise(mode, size[0], size[1]))
		}
	}
	for _, interpolation := range []string{Bicubic, Bilinear} {
		for _, mode := range []string{Shortest, Longest, Squash} {
			cfg := plain(DefaultConfig(23))
			cfg.Interpolation, cfg.ResizeMode = interpolation, mode
			want := make([][]float32, len(cases))
			for unit = 0; unit <= best; unit++ {
				tr, err := NewTransform(cfg)
				require.NoError(t, err)
				for i, img := range cases {
					dst := make([]float32, tr.Len())
					require.NoError(t, tr.Apply(dst, img))
					if unit == 0 {
						want[i] = dst
						continue
					}
					assert.Equal(t, want[i], dst, "unit %d, %s %dx%d, %s %s", unit, img.Mode, img.Width, img.Height, mode,
						interpolation)
				}
			}
		}
	}
}

func BenchmarkResize(b *testing.B) {
	best := unit
	defer func() { unit = best }()
	for _, size := range [][2]int{{640, 480}, {500, 375}, {256, 256}} {
		img := newImage(ModeRGB, size[0], size[1])
		for i := range img.Pix {
			img.Pix[i] = uint8(i * i >> 5)
		}
		unit = best
		t, err := NewTransform(DefaultConfig(224))
		require.NoError(b, err)
		dst := make([]float32, t.Len())
		for unit = best; unit >= 0; unit-- {
			b.Run(fmt.Sprintf("%dx%d/unit%d", size[0], size[1], unit), func(b *testing.B) {
				b.ReportAllocs()
				measure(b, func() error { return t.Apply(dst, img) })
			})
		}
	}
}
