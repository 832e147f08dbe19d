package preprocess

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func jxlFiles(t testing.TB) map[string]*heifGolden { return zipped(t, "jxl.zip") }

func needJXL(t testing.TB) {
	if !HasJXL() {
		t.Skip("this system has no libjxl (Debian: apt-get install libjxl0.7)")
	}
}

// What was packed without loss has pillow-jxl-plugin's pixels. The rest is computed in float32, and
// versions of libjxl round it differently; of a transcoded JPEG the plugin has libjpeg's pixels.
func TestJXLGivesPillowsPixels(t *testing.T) {
	needJXL(t)
	for name, g := range jxlFiles(t) {
		img, err := Decode(t.Context(), g.data, DefaultLimits)
		require.NoError(t, err, name)
		require.Equal(t, g.Size, [2]int{img.Height, img.Width}, name)
		require.Equal(t, g.Mode, img.Mode.String(), name)
		most, mean := g.distance(img)
		t.Logf("%s: largest difference %d, mean %.3f", name, most, mean)
		switch {
		case strings.Contains(name, "lossless"), name == "turned.jxl", name == "one.jxl":
			assert.Zero(t, most, name)
		case name == "jpeg.jxl":
			assert.LessOrEqual(t, mean, 1.0, name)
		default:
			assert.LessOrEqual(t, most, 2, name)
		}
		head, err := ReadHeader(g.data, Limits{Orient: true})
		require.NoError(t, err)
		assert.Equal(t, "JPEG XL", head.Format)
		assert.Equal(t, [2]int{img.Width, img.Height}, [2]int{head.Width, head.Height}, "%s is upright already", name)
	}
}

func TestJXLKeepsTheLimits(t *testing.T) {
	needJXL(t)
	data := jxlFiles(t)["face.jxl"].data
	checkLimits(t, "JPEG XL", data, 12, len(data)/2, len(data)-9)
	bad := append([]byte{}, data...)
	for i := 20; i < len(bad); i += 3 {
		bad[i] ^= 0x5a
	}
	_, err := Decode(t.Context(), bad, DefaultLimits)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "\n")
	_, err = Decode(t.Context(), data, Limits{NoSystem: true})
	require.ErrorIs(t, err, ErrUnsupported)
	assert.Contains(t, err.Error(), "JPEG XL is not read; convert it to PNG first")
	assert.Contains(t, refuse(isJXL, data).Error(), "JPEG XL is not read; install libjxl (Debian: apt-get install libjxl0.7)")
}
