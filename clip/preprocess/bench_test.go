package preprocess

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkPictures runs the evaluation transform at 224 pixels on every picture of a folder, from its bytes and from
// the decoded picture. benchmarks/preprocess_pillow.py names the folder and times Pillow on the same files; without it
// the goldens' photograph is taken.
func BenchmarkPictures(b *testing.B) {
	pattern := filepath.Join(goldenDir, "pictures", "face_420.jpg")
	if dir := os.Getenv("GOCLIP_BENCH_PICTURES"); dir != "" {
		pattern = filepath.Join(dir, "*")
	}
	files, err := filepath.Glob(pattern)
	require.NoError(b, err)
	require.NotEmpty(b, files)
	t, err := NewTransform(DefaultConfig(224))
	require.NoError(b, err)
	dst := make([]float32, t.Len())
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(b, err)
		b.Run(filepath.Base(path), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := t.Bytes(dst, data); err != nil {
					b.Fatal(err)
				}
			}
		})
		img, err := Decode(data, DefaultLimits)
		require.NoError(b, err)
		b.Run(filepath.Base(path)+"_decoded", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := t.Apply(dst, img); err != nil {
					b.Fatal(err)
				}
			}
		})
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
