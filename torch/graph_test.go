package torch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

func TestUpload(t *testing.T) {
	for _, d := range devices() {
		before := settled.Count(torch.LiveTensors)
		data := make([]float32, 1<<20)
		for i := range data {
			data[i] = float32(i % 1000)
		}
		u, err := torch.NewUpload(data, d, 1<<10, 1<<10)
		require.NoError(t, err)
		data[1] = -1 // the upload has what was there before
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			x := s.Alias(u.Tensor())
			assert.Equal(t, d, x.Device())
			assert.Same(t, u.Tensor(), u.Tensor())
			assert.Equal(t, []int{1 << 10, 1 << 10}, x.Shape())
			assert.Equal(t, []float32{1}, torch.ToSlice[float32](x.Select(0, 0).Narrow(0, 1, 1)))
			sum := 0.
			for i := range data {
				sum += float64(i % 1000)
			}
			assert.Equal(t, sum, x.To(d, torch.Float64).Sum().Item())
		}))
		u.Free()
		u.Free()
		unread, err := torch.NewUpload([]int64{1}, d, 1)
		require.NoError(t, err)
		unread.Free()
		assert.Equal(t, before, torch.LiveTensors())
		_, err = torch.NewUpload([]int64{1, 2}, d, 3)
		assert.ErrorContains(t, err, "the shape [3] takes 24 bytes, not 16")
	}
}

// TestCaptureWithout says why there is no graph.
func TestCaptureWithout(t *testing.T) {
	_, err := torch.Capture(torch.CPU, func() error { panic("not called") })
	assert.EqualError(t, err, "torch: work on cpu cannot be captured: only CUDA has graphs")
	if _, noDevice := torch.ParseDevice("cuda"); torch.CanCapture() && noDevice == nil {
		return
	}
	_, err = torch.Capture(torch.Device{Type: "cuda"}, func() error { panic("not called") })
	if torch.CanCapture() {
		assert.Regexp(t, "^torch: capture\\(\\): .*(CUDA|NVIDIA)", err) // in libtorch's words, or CUDA's where there is no driver
		return
	}
	assert.EqualError(t, err, "torch: capture(): this program is built without CUDA graphs: make build-cuda builds the commands with them")
}

// TestCapture replays a product, its gradient and noise, on numbers that change in between.
func TestCapture(t *testing.T) {
	d := gputest.Capturing(t)
	w := torch.FromSlice(nil, []float32{1, 2, 3, 4}, 2, 2).To(d, torch.Float32).Keep().SetRequiresGrad(true)
	x := torch.Zeros(nil, d, torch.Float32, 1, 2)
	y, g, noise := torch.Zeros(nil, d, torch.Float32, 1, 2), torch.Zeros(nil, d, torch.Float32, 2, 2), torch.Zeros(nil, d, torch.Float32, 8)
	work := func() error {
		return torch.Do(func(s *torch.Scope) {
			out := s.Alias(x).Linear(w, nil)
			s.NoGrad(func(s *torch.Scope) {
				s.Alias(y).CopyFrom(out)
				s.Alias(noise).UniformInPlace(0, 1)
			})
			out.Sum().Backward()
			s.NoGrad(func(s *torch.Scope) { s.Alias(g).CopyFrom(s.Alias(w).Grad()) })
			torch.ZeroGrad([]*torch.Tensor{w})
		})
	}
	require.NoError(t, work())
	graph, err := torch.Capture(d, work)
	require.NoError(t, err)
	var drawn [][]float32
	for _, v := range []float32{1, 5} {
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			s.Alias(x).Fill(float64(v))
			graph.Replay()
			assert.Equal(t, []float32{3 * v, 7 * v}, torch.ToSlice[float32](y))
			assert.Equal(t, []float32{v, v, v, v}, torch.ToSlice[float32](g))
			drawn = append(drawn, torch.ToSlice[float32](noise))
		}))
	}
	assert.NotEqual(t, drawn[0], drawn[1])

	_, err = torch.Capture(d, func() error {
		return torch.Do(func(s *torch.Scope) { s.Alias(x).Item() })
	})
	assert.Error(t, err, "what waits for the device cannot be captured")
	require.NoError(t, work(), "and leaves the device as it was")
}
