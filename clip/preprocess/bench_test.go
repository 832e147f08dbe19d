package preprocess

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkImages takes the stages of the evaluation transform at 224 pixels on every image of a folder: decode, the
// transform of the decoded image, and the whole from bytes to the tensor, in full and with FastJPEG.
// benchmarks/preprocess.py names the folder and times Pillow on the same files; without it the goldens' photograph is
// taken.
func BenchmarkImages(b *testing.B) {
	pattern := filepath.Join(goldenDir, "pictures", "face_420.jpg")
	if dir := os.Getenv("GOCLIP_BENCH_PICTURES"); dir != "" {
		pattern = filepath.Join(dir, "*")
	}
	files, err := filepath.Glob(pattern)
	require.NoError(b, err)
	require.NotEmpty(b, files)
	t, err := NewTransform(DefaultConfig(224))
	require.NoError(b, err)
	fast := t.WithLimits(Limits{FastJPEG: true})
	dst := make([]float32, t.Len())
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(b, err)
		img, err := Decode(b.Context(), data, DefaultLimits)
		require.NoError(b, err)
		var kept part
		for _, stage := range []struct {
			name string
			run  func() error
		}{
			{"decode", func() error { _, err := Decode(b.Context(), data, Limits{part: &kept}); return err }},
			{"transform", func() error { return t.Apply(dst, img) }},
			{"whole", func() error { return t.Bytes(b.Context(), dst, data) }},
			{"fast", func() error { return fast.Bytes(b.Context(), dst, data) }},
		} {
			b.Run(filepath.Base(path)+"/"+stage.name, func(b *testing.B) {
				b.ReportAllocs()
				measure(b, stage.run)
			})
		}
	}
}

func BenchmarkTrain(b *testing.B) {
	img := decodeGolden(b, "face_420.jpg")
	for _, c := range []struct {
		name string
		aug  AugConfig
	}{{"crop", AugConfig{}}, {"jitter", strongAug}} {
		b.Run(c.name, func(b *testing.B) {
			t, err := NewTrainTransform(DefaultConfig(224), c.aug)
			require.NoError(b, err)
			dst, rng := make([]float32, t.Len()), rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				if err := t.Apply(dst, img, rng); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
