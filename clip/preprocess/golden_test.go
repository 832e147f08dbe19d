package preprocess

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const goldenDir = "../../testdata/preprocess"

// place of a golden result in goldens.bin.gz.
type goldenRGB struct {
	At   int
	Size [2]int
}

type goldens struct {
	Files []struct {
		File, Mode, Bytes, RGB string
		Size                   [2]int
		Unreadable             bool
		Upright                *struct {
			RGB  string
			Size [2]int
		}
		Transforms []struct {
			Config Config
			goldenRGB
		}
	}
	Training []struct {
		File   string
		Crop   [4]int
		Order  []int
		Factor [4]float64
		Grey   bool
		goldenRGB
	}
	HuggingFace []struct {
		File   string
		Config json.RawMessage
		goldenRGB
	}
	Drafts []struct {
		File  string
		Scale int
		goldenRGB
	}
	blob []uint8
}

func loadGoldens(t testing.TB) *goldens {
	t.Helper()
	var g goldens
	require.NoError(t, json.Unmarshal(readGolden(t, "goldens.json"), &g))
	z, err := gzip.NewReader(bytes.NewReader(readGolden(t, "goldens.bin.gz")))
	require.NoError(t, err)
	g.blob, err = io.ReadAll(z)
	require.NoError(t, err)
	for i := range g.Files {
		if !HasJPEGTurbo && strings.Contains(g.Files[i].File, "arithmetic") { // image/jpeg knows Huffman alone
			g.Files[i].Unreadable, g.Files[i].Transforms = true, nil
		}
	}
	return &g
}

func (g *goldens) rgb(p goldenRGB) []uint8 { return g.blob[p.At:][:3*p.Size[0]*p.Size[1]] }

func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldenDir, name))
	require.NoError(t, err)
	return data
}

func decodeGolden(t testing.TB, name string) *Image {
	t.Helper()
	img, err := DecodeFile(t.Context(), filepath.Join(goldenDir, "pictures", name), DefaultLimits)
	require.NoError(t, err)
	return img
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// bytesOf undoes the normalisation of a result with mean 0 and standard deviation 1: (H, W, 3) bytes.
func bytesOf(values []float32) []uint8 {
	plane := len(values) / 3
	out := make([]uint8, len(values))
	for i := range plane {
		for c := range 3 {
			out[3*i+c] = uint8(math.Round(float64(values[c*plane+i]) * 255))
		}
	}
	return out
}

func plain(cfg Config) Config {
	cfg.Mean, cfg.Std = [3]float32{}, [3]float32{1, 1, 1}
	return cfg
}

// difference compares grey levels: the largest distance, the share that is equal, and the cosine.
func difference(want, got []uint8) (most int, equal, cosine float64) {
	same, dot, a, b := 0, 0.0, 0.0, 0.0
	for i, w := range want {
		d := int(w) - int(got[i])
		most = max(most, d, -d)
		if d == 0 {
			same++
		}
		dot += float64(w) * float64(got[i])
		a += float64(w) * float64(w)
		b += float64(got[i]) * float64(got[i])
	}
	if a == 0 || b == 0 {
		return most, float64(same) / float64(len(want)), 1
	}
	return most, float64(same) / float64(len(want)), dot / math.Sqrt(a*b)
}

// exact reports whether a file must give Pillow's bytes: all but JPEG without libjpeg-turbo.
func exact(name string) bool { return HasJPEGTurbo || !isJPEGName(name) }

func isJPEGName(name string) bool { return filepath.Ext(name) == ".jpg" && name != "png_named.jpg" }

func TestDecodeGivesPillowsBytes(t *testing.T) {
	for _, f := range loadGoldens(t).Files {
		t.Run(f.File, func(t *testing.T) {
			img, err := DecodeFile(t.Context(), filepath.Join(goldenDir, "pictures", f.File), DefaultLimits)
			if f.Unreadable {
				require.ErrorIs(t, err, ErrUnsupported)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, f.Size, [2]int{img.Height, img.Width})
			assert.Equal(t, f.Mode, img.Mode.String())
			if exact(f.File) {
				assert.Equal(t, f.RGB, sha(img.RGB().Pix), "after conversion to RGB")
				assert.Equal(t, f.Bytes, sha(img.Pix), "in the file's own mode")
			}
		})
	}
}

// checkPixels wants Pillow's pixels of a file that must give them (exact), and of any a cosine of at least this.
func checkPixels(t *testing.T, file string, want, got []uint8, least float64) {
	t.Helper()
	most, equal, cosine := difference(want, got)
	if exact(file) {
		assert.Zero(t, most, "largest difference; equal share %v", equal)
	}
	assert.GreaterOrEqual(t, cosine, least)
}

func TestTransformGivesPillowsPixels(t *testing.T) {
	g := loadGoldens(t)
	for _, f := range g.Files {
		for _, c := range f.Transforms {
			name := fmt.Sprintf("%s/%dx%d_%s_%s", f.File, c.Config.Size[0], c.Config.Size[1], c.Config.ResizeMode,
				c.Config.Interpolation)
			t.Run(name, func(t *testing.T) {
				tr, err := NewTransform(plain(c.Config))
				require.NoError(t, err)
				dst := make([]float32, tr.Len())
				require.NoError(t, tr.File(t.Context(), dst, filepath.Join(goldenDir, "pictures", f.File)))
				checkPixels(t, f.File, g.rgb(c.goldenRGB), bytesOf(dst), 0.9999)
			})
		}
	}
}

func TestTrainingPixels(t *testing.T) {
	g := loadGoldens(t)
	tr, err := NewTrainTransform(plain(DefaultConfig(24)), AugConfig{})
	require.NoError(t, err)
	for i, c := range g.Training {
		t.Run(fmt.Sprintf("%d_%s", i, c.File), func(t *testing.T) {
			v := view{crop: crop{c.Crop[0], c.Crop[1], c.Crop[2], c.Crop[3]}, grey: c.Grey}
			if len(c.Order) == 4 {
				v.jitter = &jitter{order: [4]int(c.Order), factor: c.Factor, active: [4]bool{true, true, true, true}}
			}
			got := tr.render(new(scratch), decodeGolden(t, c.File), v)
			checkPixels(t, c.File, g.rgb(c.goldenRGB), got, 0.999)
		})
	}
}

func TestHuggingFacePixels(t *testing.T) {
	g := loadGoldens(t)
	require.NotEmpty(t, g.HuggingFace)
	for _, c := range g.HuggingFace {
		t.Run(fmt.Sprintf("%s/%s", c.File, c.Config), func(t *testing.T) {
			cfg, err := ParseHuggingFace(c.Config)
			require.NoError(t, err)
			tr, err := NewTransform(plain(cfg))
			require.NoError(t, err)
			dst := make([]float32, tr.Len())
			require.NoError(t, tr.File(t.Context(), dst, filepath.Join(goldenDir, "pictures", c.File)))
			checkPixels(t, c.File, g.rgb(c.goldenRGB), bytesOf(dst), 0.999)
		})
	}
}

// Orient gives the image of ImageOps.exif_transpose; without it the orientation is passed over.
func TestOrientIsPillows(t *testing.T) {
	turned := 0
	for _, f := range loadGoldens(t).Files {
		img, err := DecodeFile(t.Context(), filepath.Join(goldenDir, "pictures", f.File), Limits{Orient: true})
		if f.Unreadable {
			continue
		}
		require.NoError(t, err, f.File)
		size, rgb := f.Size, f.RGB
		if f.Upright != nil {
			size, rgb = f.Upright.Size, f.Upright.RGB
			turned++
		}
		assert.Equal(t, size, [2]int{img.Height, img.Width}, f.File)
		if exact(f.File) {
			assert.Equal(t, rgb, sha(img.RGB().Pix), f.File)
		}
	}
	assert.Equal(t, 9, turned)
}

func TestNormalizeIsTorchvisions(t *testing.T) {
	raw := readGolden(t, "normalize.f32")
	table := newNormTable(OpenAIMean, OpenAIStd)
	for c := range 3 {
		for v := range 256 {
			at := 4 * (256*c + v)
			bits := uint32(raw[at]) | uint32(raw[at+1])<<8 | uint32(raw[at+2])<<16 | uint32(raw[at+3])<<24
			assert.Equal(t, math.Float32frombits(bits), table[c][v], "channel %d, grey level %d", c, v)
		}
	}
}
