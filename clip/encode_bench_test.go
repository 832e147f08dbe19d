package clip

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// BenchmarkEncode encodes the images and texts of benchmarks/encode.py with the model directory GOCLIP_BENCH_MODEL and
// writes what it made of them beside them, for the comparison with the peers' features: GOCLIP_BENCH_INPUTS/pixels, the float32 numbers
// of N images, and tokens, the int64 ids of as many texts. A case encodes the first ones, and all again if it needs more.
func BenchmarkEncode(b *testing.B) {
	dir, inputs := os.Getenv("GOCLIP_BENCH_MODEL"), os.Getenv("GOCLIP_BENCH_INPUTS")
	if dir == "" || inputs == "" {
		b.Skip("GOCLIP_BENCH_MODEL and GOCLIP_BENCH_INPUTS name no directories; benchmarks/encode.py does")
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(inputs, name))
		require.NoError(b, err)
		return data
	}
	for _, precision := range []struct {
		name string
		how  torch.Packing // 0: the weights as they are
	}{{"plain", 0}, {"fp32", FP32.Packing()}, {"fp32-strict", torch.PackFloat32}, {"bf16", torch.PackBFloat16}, {"int8", torch.PackInt8}} {
		for _, what := range []string{"pictures", "texts"} {
			for _, n := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256} {
				b.Run(fmt.Sprintf("%s/%s/%d", precision.name, what, n), func(b *testing.B) {
					m, err := Open(b.Context(), dir, nil)
					require.NoError(b, err)
					if precision.how != 0 {
						require.NoError(b, m.PackImages(precision.how))
						require.NoError(b, m.PackTexts(precision.how))
					}
					size := m.Config.Vision.ImageSize
					pixels := make([]float32, n*3*size.Height*size.Width)
					for i, data := 0, read("pixels"); i < len(pixels); i++ {
						pixels[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i%len(data):]))
					}
					tokens := make([]int64, n*m.ContextLength())
					for i, data := 0, read("tokens"); i < len(tokens); i++ {
						tokens[i] = int64(binary.LittleEndian.Uint64(data[8*i%len(data):]))
					}
					encode := func() (rows []float32, err error) { return m.ImageFeatures(pixels, n) }
					if what == "texts" {
						encode = func() ([]float32, error) { return m.TextFeatures(tokens, n) }
					}
					rows, err := encode() // and all that happens only once
					require.NoError(b, err)
					var out []byte
					for _, x := range rows {
						out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
					}
					require.NoError(b, os.WriteFile(filepath.Join(inputs, fmt.Sprintf("%s-%s-%d", precision.name, what, n)), out, 0o644))
					for b.Loop() {
						_, err = encode()
						require.NoError(b, err)
					}
				})
			}
		}
	}
}
