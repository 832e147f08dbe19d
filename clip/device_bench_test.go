package clip

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// benchmarkDevice is what GOCLIP_BENCH_DEVICE names; benchmarks/gpu.py sets it.
func benchmarkDevice(b *testing.B) torch.Device {
	b.Helper()
	name := os.Getenv("GOCLIP_BENCH_DEVICE")
	if name == "" {
		b.Skip("GOCLIP_BENCH_DEVICE names no device; benchmarks/gpu.py does")
	}
	d, err := torch.ParseDevice(name)
	require.NoError(b, err)
	return d
}

// BenchmarkDevice is a random ViT-B-32 on GOCLIP_BENCH_DEVICE, in bfloat16 on a GPU: images and texts that are there already, many at a
// time ("tower"), and a few from the host to the host ("answer"), kernel by kernel and by graphs.
func BenchmarkDevice(b *testing.B) {
	device := benchmarkDevice(b)
	open := func(b *testing.B) *Model {
		c, err := tower.LookupConfig("ViT-B-32")
		require.NoError(b, err)
		m, err := New(c, 0)
		require.NoError(b, err)
		require.NoError(b, m.To(device))
		if device != torch.CPU {
			require.NoError(b, m.Cast(torch.BFloat16))
		}
		return m
	}
	for _, n := range []int{1, 32, 1024} {
		pixels, tokens := make([]float32, n*3*224*224), benchmarkTokens(n, 0)
		for i := range pixels {
			pixels[i] = float32(i%511)/128 - 2
		}
		b.Run(fmt.Sprintf("tower/pictures/%d", n), func(b *testing.B) {
			m := open(b)
			require.NoError(b, torch.NoGrad(func(s *torch.Scope) {
				x := torch.FromSlice(s, pixels, n, 3, 224, 224).To(device, m.dtype())
				encode := func() { torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return m.EncodeImage(x).Sum() }, x).Item() }
				encode()
				for b.Loop() {
					encode()
				}
			}))
		})
		for _, length := range []int{0, 77} { // 0: ordinary captions
			b.Run(fmt.Sprintf("tower/texts%d/%d", length, n), func(b *testing.B) {
				m, tokens := open(b), benchmarkTokens(n, length)
				require.NoError(b, torch.NoGrad(func(s *torch.Scope) {
					texts := m.ArrangeTexts(tokens, m.dtype(), 0)
					numbers := texts.Numbers()
					x := torch.FromSlice(s, numbers, len(numbers)).To(device, torch.Int64)
					encode := func() {
						torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return m.EncodeArranged(texts, x).Sum() }, x).Item()
					}
					encode()
					for b.Loop() {
						encode()
					}
				}))
			})
		}
		for _, graphs := range []bool{false, true} {
			if graphs && (device == torch.CPU || !torch.CanCapture()) {
				continue
			}
			how := map[bool]string{false: "kernels", true: "graphs"}[graphs]
			for what, encode := range map[string]func(m *Model) error{
				"pictures": func(m *Model) error { _, err := m.ImageFeatures(pixels, n); return err },
				"texts":    func(m *Model) error { _, err := m.TextFeatures(tokens, n); return err },
			} {
				b.Run(fmt.Sprintf("answer/%s/%s/%d", how, what, n), func(b *testing.B) {
					m := open(b)
					if graphs {
						require.NoError(b, m.UseGraphs())
					}
					for range 3 { // and all that happens only once
						require.NoError(b, encode(m))
					}
					for b.Loop() {
						require.NoError(b, encode(m))
					}
				})
			}
		}
	}
}

// benchmarkTokens are n texts of so many tokens, or of 6 to 19, 12 on average, as captions have.
func benchmarkTokens(n, length int) []int64 {
	tokens := make([]int64, n*77)
	for i := range n {
		tokens[77*i] = 49406
		end := length - 1
		if length == 0 {
			end = []int{5, 7, 8, 9, 10, 11, 11, 12, 14, 18}[i%10]
		}
		for j := 1; j < end; j++ {
			tokens[77*i+j] = int64(300 + (131*i+17*j)%40000)
		}
		tokens[77*i+end] = 49407
	}
	return tokens
}
