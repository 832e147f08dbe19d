//go:build cgo && !nojpegturbo

package preprocess

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestScaledJPEGIsPillowsDraft(t *testing.T) {
	g := loadGoldens(t)
	require.Len(t, g.Drafts, 3)
	for _, d := range g.Drafts {
		t.Run(fmt.Sprint(d.Scale), func(t *testing.T) {
			img, err := DecodeFile(t.Context(), filepath.Join(goldenDir, "pictures", d.File), Limits{JPEGScale: d.Scale})
			require.NoError(t, err)
			assert.Equal(t, d.Size, [2]int{img.Height, img.Width})
			most, equal, _ := difference(g.rgb(d.goldenRGB), img.Pix)
			assert.Zero(t, most, "largest difference; equal share %v", equal)
		})
	}
	_, err := DecodeFile(t.Context(), filepath.Join(goldenDir, "pictures", "face_420.jpg"), Limits{JPEGScale: 3})
	require.ErrorIs(t, err, ErrUnsupported)
}

// The columns that a crop needs have the values that they have in the whole image: upsampling reads beside them.
func TestColumnsAreThoseOfTheWholeJPEG(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenDir, "pictures", "*.jpg"))
	require.NoError(t, err)
	narrower := 0
	for _, path := range files {
		if !isJPEGName(filepath.Base(path)) {
			continue
		}
		data := readGolden(t, filepath.Join("pictures", filepath.Base(path)))
		for _, scale := range []int{1, 2, 4} {
			whole, err := Decode(t.Context(), data, Limits{JPEGScale: scale})
			require.NoError(t, err)
			for _, c := range [][2]float64{{0, 0.3}, {0.1, 0.85}, {0.34, 0.4}, {0.5, 0.93}, {0.7, 1}, {0, 1}} {
				from := int(c[0] * float64(whole.Width))
				to := max(int(c[1]*float64(whole.Width)), from+1)
				p := part{plan: func(w, h int) (int, int, int) { return scale, from, to }}
				img, err := Decode(t.Context(), data, Limits{part: &p})
				require.NoError(t, err)
				require.LessOrEqual(t, p.left, from)
				require.GreaterOrEqual(t, p.left+img.Width, to)
				require.Equal(t, whole.Height, img.Height)
				n := img.Mode.Bytes()
				for y := range img.Height {
					require.Equal(t, whole.Pix[(y*whole.Width+from)*n:][:(to-from)*n],
						img.Pix[(y*img.Width+from-p.left)*n:][:(to-from)*n], "%s at 1/%d, columns %v, row %d", path, scale, c, y)
				}
				if img.Width < whole.Width {
					narrower++
				}
			}
		}
	}
	assert.Greater(t, narrower, 20)
}

// FastJPEG takes the smallest image that is not smaller than the resized one, and comes near the full decoding.
func TestFastJPEG(t *testing.T) {
	for size, c := range map[int]struct {
		scale int
		most  float64 // mean difference in grey levels
	}{224: {1, 0}, 128: {2, 1.5}, 64: {4, 2.3}, 30: {8, 6.6}} {
		tr, err := NewTransform(plain(DefaultConfig(size)))
		require.NoError(t, err)
		fast := tr.WithLimits(Limits{FastJPEG: true})
		scale, w, h := fast.jpegScale(fast.limits(), 320, 260)
		assert.Equal(t, [3]int{c.scale, (320 + c.scale - 1) / c.scale, (260 + c.scale - 1) / c.scale}, [3]int{scale, w, h})
		full, quick := make([]float32, tr.Len()), make([]float32, tr.Len())
		path := filepath.Join(goldenDir, "pictures", "face_420.jpg")
		require.NoError(t, tr.File(t.Context(), full, path))
		require.NoError(t, fast.File(t.Context(), quick, path))
		_, _, cosine := difference(bytesOf(full), bytesOf(quick))
		assert.Greater(t, cosine, 0.997, "size %d", size)
		sum := 0.0
		for i, v := range full {
			sum += math.Abs(float64(v-quick[i])) * 255
		}
		assert.LessOrEqual(t, sum/float64(len(full)), c.most, "size %d", size)
		t.Logf("size %d: mean difference %.2f grey levels, cosine %.6f", size, sum/float64(len(full)), cosine)
	}
}
