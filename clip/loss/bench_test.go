package loss

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/torch"
)

// BenchmarkLoss is the contrastive loss of N pairs of 512 numbers and its gradients, by autograd on the whole matrix and in tiles.
// cpu-ms/op is the processor time; beyond-MiB is the most memory that the loss has had beside features and their gradients: run
// one case in a process. benchmarks/loss.py does.
func BenchmarkLoss(b *testing.B) {
	const width = 512
	for _, n := range []int{256, 1024, 4096, 16384} {
		for _, c := range []struct {
			name string
			loss func(p Pairs)
		}{
			{"dense", func(p Pairs) {
				torch.Gradients(Contrastive(p.Images, p.Texts, p.Scale), p.Images, p.Texts, p.Scale)
			}},
			{"tiled", func(p Pairs) { TiledContrastive(p, nil, 0) }},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				step := func(n int) (beyond, cpu float64) {
					require.NoError(b, torch.Do(func(s *torch.Scope) {
						features := func() *torch.Tensor {
							return torch.Randn(s, torch.CPU, n, width).Normalize(1).SetRequiresGrad(true)
						}
						p := Pairs{Images: features(), Texts: features(), Scale: torch.FromSlice(s, []float32{14.3}).SetRequiresGrad(true)}
						before := resident(b, "VmRSS") + float64(2*n*width*4)
						cpu = -campaign.ProcessorTime().Seconds()
						b.StartTimer()
						c.loss(p)
						b.StopTimer()
						cpu += campaign.ProcessorTime().Seconds()
						beyond = resident(b, "VmHWM") - before
					}))
					return beyond, cpu
				}
				b.StopTimer()
				step(128) // libtorch's own buffers
				most, total := 0.0, 0.0
				for range b.N {
					beyond, cpu := step(n)
					most, total = max(most, beyond), total+cpu
				}
				b.ReportMetric(most/(1<<20), "beyond-MiB")
				b.ReportMetric(total*1e3/float64(b.N), "cpu-ms/op")
			})
		}
	}
}

// resident is a field of the process's status, in bytes.
func resident(b *testing.B, field string) float64 {
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(b, err)
	kilobytes, err := strconv.ParseFloat(string(regexp.MustCompile(field + `:\s+(\d+)`).FindSubmatch(status)[1]), 64)
	require.NoError(b, err)
	return kilobytes * 1024
}
