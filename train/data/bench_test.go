package data_test

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/train/data"
)

// BenchmarkEpoch reads an epoch of 1,024 photographs in batches of 256 from a shard, as training
// does, and tells of the wait for the first batch and of images a second.
func BenchmarkEpoch(b *testing.B) {
	photo, err := os.ReadFile(filepath.Join("..", "..", "testdata", "preprocess", "pictures", "face_420.jpg"))
	require.NoError(b, err)
	path := photos(b, photo, 1024)
	transform, err := preprocess.NewTrainTransform(preprocess.DefaultConfig(224), preprocess.AugConfig{})
	require.NoError(b, err)
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			set, err := open(b, path, data.Options{})
			require.NoError(b, err)
			loader, err := data.NewLoader(set, &data.LoaderOptions{BatchSize: 256, Workers: workers, Shuffle: true, DropLast: true, Pixels: 3 * 224 * 224, Transform: transform.Apply})
			require.NoError(b, err)
			b.ReportAllocs()
			first, pictures, processor := time.Duration(0), 0, campaign.ProcessorTime()
			for epoch := 0; b.Loop(); epoch++ {
				began := time.Now()
				for batch, err := range loader.Epoch(context.Background(), epoch, 0) {
					require.NoError(b, err)
					if batch.Index == 0 {
						first += time.Since(began)
					}
					pictures += batch.N
				}
			}
			b.ReportMetric(first.Seconds()/float64(b.N), "s-to-first-batch")
			b.ReportMetric(float64(pictures)/b.Elapsed().Seconds(), "pictures/s")
			b.ReportMetric(1e3*(campaign.ProcessorTime()-processor).Seconds()/float64(pictures), "processor-ms/picture")
		})
	}
}

// photos writes a shard of n copies of an image.
func photos(b *testing.B, photo []byte, n int) string {
	path := filepath.Join(b.TempDir(), "photos.tar")
	f, err := os.Create(path)
	require.NoError(b, err)
	w := tar.NewWriter(f)
	for i := range n {
		for ext, content := range map[string][]byte{"jpg": photo, "txt": fmt.Appendf(nil, "image %d", i)} {
			require.NoError(b, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%04d.%s", i, ext), Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}))
			_, err := w.Write(content)
			require.NoError(b, err)
		}
	}
	require.NoError(b, w.Close())
	require.NoError(b, f.Close())
	return path
}

// BenchmarkOpen indexes a shard of 2,000 images of 100 kB, 200 MB in the system's cache.
func BenchmarkOpen(b *testing.B) {
	path, processor := photos(b, make([]byte, 100_000), 2000), campaign.ProcessorTime()
	for b.Loop() {
		set, err := open(b, path, data.Options{})
		require.NoError(b, err)
		require.Equal(b, 2000, set.Len())
	}
	b.ReportMetric(1e3*(campaign.ProcessorTime()-processor).Seconds()/float64(b.N), "processor-ms/op")
}
