package train

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/train/data"
)

// BenchmarkDeviceStep is a training step of a random ViT-B-32 on GOCLIP_BENCH_DEVICE, with products
// in bfloat16 on a GPU, on GOCLIP_BENCH_BATCH pairs that are in the host's memory: with captions of
// all 77 tokens and ordinary ones, kernel by kernel and as a graph. benchmarks/gpu.py runs it.
func BenchmarkDeviceStep(b *testing.B) {
	name, n := os.Getenv("GOCLIP_BENCH_DEVICE"), 0
	if name == "" {
		b.Skip("GOCLIP_BENCH_DEVICE names no device; benchmarks/gpu.py does")
	}
	device, err := torch.ParseDevice(name)
	require.NoError(b, err)
	n, err = strconv.Atoi(os.Getenv("GOCLIP_BENCH_BATCH"))
	require.NoError(b, err)
	for _, captions := range []string{"long", "ordinary"} {
		for _, how := range []string{"kernels", "graph"} {
			if how == "graph" && (device == torch.CPU || !torch.CanCapture()) {
				continue
			}
			b.Run(captions+"/"+how, func(b *testing.B) {
				c, err := tower.LookupConfig("ViT-B-32")
				require.NoError(b, err)
				m, err := clip.New(c, 0)
				require.NoError(b, err)
				require.NoError(b, m.To(device))
				group, err := distributed.Init(b.Context(), distributed.World{Size: 1, LocalSize: 1}, distributed.Options{})
				require.NoError(b, err)
				r := &stepper{model: m, device: device, precision: choosePrecision("auto", device), group: group}
				r.capturing, r.graphs.Max = how == "graph", maxGraphs
				require.True(b, !r.capturing || r.checkGraphs(&Config{AccumFreq: 1}) == "")
				r.reducer, err = distributed.NewReducer(group, nil, 1)
				require.NoError(b, err)
				r.optimise()
				m.SetTraining(true)
				batch := &data.Batch{N: n, Pixels: make([]float32, n*3*224*224), Tokens: make([]int64, n*77)}
				for i := range batch.Pixels {
					batch.Pixels[i] = float32(i%1021)/256 - 2
				}
				for i := range n {
					end := 76
					if captions == "ordinary" { // 12 tokens on average
						end = []int{5, 7, 8, 9, 10, 11, 11, 12, 14, 18}[i%10]
					}
					for j := range end {
						batch.Tokens[77*i+j] = int64(300 + (131*i+17*j)%40000)
					}
					batch.Tokens[77*i+end] = 49407
				}
				pairs, err := r.micro(batch)
				require.NoError(b, err)
				step := func() {
					_, err := r.step([]*micro{pairs}, common{n: n})
					require.NoError(b, err)
					r.optimiser.ZeroGrad()
				}
				for range 3 {
					step()
				}
				for b.Loop() {
					step()
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "pairs/s")
			})
		}
	}
}
