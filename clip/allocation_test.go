package clip

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/failalloc"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
)

// TestEveryAllocation has each allocation of one request, and of one training step, fail: an error
// each time, nothing lost, and the next request, or step, is right to the last bit.
func TestEveryAllocation(t *testing.T) {
	failalloc.Run(t, "..", func(a *failalloc.Allocator) {
		torch.SetNumThreads(1)
		m := goldenModel(t, golden.Config(t, "tiny"))
		size := m.Config.Vision.ImageSize
		pixels, tokens := make([]float32, 2*3*size.Height*size.Width), make([]int64, 2*m.ContextLength())
		for i, u := range golden.Uniform("pixels", len(pixels)) {
			pixels[i] = float32(u)
		}
		for i := range tokens {
			tokens[i] = int64(1 + i%(m.Config.Text.VocabSize-1))
		}
		request := func() (rows []float32, err error) {
			images, err := m.ImageFeatures(pixels, 2)
			if err != nil {
				return nil, err
			}
			texts, err := m.TextFeatures(tokens, 2)
			return append(images, texts...), err
		}
		want, err := request()
		require.NoError(t, err)
		before := settled.Count(torch.LiveTensors)
		n := a.Every(t, func() error { _, err := request(); return err }, func() {
			got, err := request()
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.Equal(t, before, torch.LiveTensors())
		})
		t.Logf("a request makes %d allocations", n)
		assert.Greater(t, n, 40)

		var begin, stepped [][]byte
		each := func(f func(i int, p *torch.Tensor)) {
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
				i := 0
				for _, p := range m.Parameters() {
					f(i, s.Alias(p))
					i++
				}
			}))
		}
		for _, p := range m.Parameters() {
			p.SetRequiresGrad(true)
		}
		each(func(_ int, p *torch.Tensor) { begin = append(begin, torch.ToBytes(p)) })
		step := func() error {
			each(func(i int, p *torch.Tensor) { p.WriteBytes(0, begin[i]) })
			params := slices.Collect(func(yield func(*torch.Tensor) bool) {
				for _, p := range m.Parameters() {
					if !yield(p) {
						return
					}
				}
			})
			defer torch.ZeroGrad(params)
			var o *optim.AdamW
			if err := torch.Do(func(s *torch.Scope) {
				o = optim.NewAdamW(optim.OneGroup(m.Parameters(), 0.1), optim.AdamWDefaults(1e-3))
				m.Loss(torch.FromSlice(s, pixels, 2, 3, size.Height, size.Width), torch.FromSlice(s, tokens, 2, m.ContextLength())).Backward()
			}); err != nil {
				return err
			}
			defer func() {
				for _, x := range o.State() {
					x.Free()
				}
			}()
			return o.Step()
		}
		require.NoError(t, step())
		each(func(_ int, p *torch.Tensor) { stepped = append(stepped, torch.ToBytes(p)) })
		n = a.Every(t, step, func() {
			require.NoError(t, step())
			each(func(i int, p *torch.Tensor) { require.Equal(t, stepped[i], torch.ToBytes(p)) })
		})
		t.Logf("a step makes %d allocations", n)
		assert.Greater(t, n, 100)
	})
}
