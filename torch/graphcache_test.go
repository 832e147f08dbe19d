package torch_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/torch"
)

// TestGraphCache sees what the cache says of inputs of these shapes. Work on the CPU cannot be
// captured, so that an empty graph stands for one; TestCachedGraphs replays real ones.
func TestGraphCache(t *testing.T) {
	var captures int
	var fails error
	c := &torch.GraphCache[int, string]{Max: 2}
	for i, step := range []struct {
		shape    int
		captured bool // by now
		captures int
	}{
		{2, false, 0}, {2, true, 1}, {2, true, 1}, {1, false, 1},
		{3, false, 1}, {3, false, 1}, // a third shape has no room
		{1, true, 2}, {2, true, 2},
	} {
		graph, work, err := c.Get(step.shape, func() (*torch.Graph, string, error) {
			captures++
			return &torch.Graph{}, string(rune('0' + step.shape)), nil
		})
		require.NoError(t, err)
		assert.Equal(t, step.captured, graph != nil, i)
		assert.Equal(t, step.captures, captures, i)
		if step.captured {
			assert.Equal(t, string(rune('0'+step.shape)), work)
		}
	}
	assert.Equal(t, 2, c.Len())
	c.Reset()
	assert.Zero(t, c.Len())

	capture := func() (*torch.Graph, string, error) { return &torch.Graph{}, "", fails }
	graph, _, err := c.Get(1, capture)
	require.NoError(t, err)
	assert.Nil(t, graph, "Reset forgets")
	fails = errors.New("no memory")
	graph, _, err = c.Get(1, capture)
	assert.Nil(t, graph)
	assert.ErrorIs(t, err, fails)
	graph, _, err = c.Get(1, func() (*torch.Graph, string, error) {
		t.Error("a capture that failed is not tried again")
		return nil, "", nil
	})
	assert.NoError(t, err, "which is said once")
	assert.Nil(t, graph)
	c.Reset()
	fails = nil
	_, _, err = c.Get(1, capture)
	require.NoError(t, err)
	graph, _, err = c.Get(1, capture)
	require.NoError(t, err)
	assert.NotNil(t, graph, "Reset forgets that too")
	graph.Free()
	graph.Free()

	graph, _, err = new(torch.GraphCache[int, string]).Get(1, capture)
	require.NoError(t, err)
	assert.Nil(t, graph)
}

// TestCachedGraphs doubles numbers by a graph for each shape.
func TestCachedGraphs(t *testing.T) {
	d := gputest.Capturing(t)
	type buffers struct{ x, y *torch.Tensor }
	c := &torch.GraphCache[int, buffers]{Max: 4}
	double := func(x []float32) (y []float32, replayed bool) {
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			in := torch.FromSlice(s, x, len(x)).To(d, torch.Float32)
			graph, work, err := c.Get(len(x), func() (*torch.Graph, buffers, error) {
				b := buffers{in.Clone().Keep(), torch.Zeros(nil, d, torch.Float32, len(x))}
				g, err := torch.Capture(d, func() error {
					return torch.NoGrad(func(s *torch.Scope) { b.y.CopyFrom(s.Alias(b.x).MulScalar(2)) })
				})
				return g, b, err
			})
			require.NoError(t, err)
			if replayed = graph != nil; !replayed {
				y = torch.ToSlice[float32](in.MulScalar(2))
				return
			}
			work.x.CopyFrom(in)
			graph.Replay()
			y = torch.ToSlice[float32](work.y)
		}))
		return y, replayed
	}
	for round := range 3 {
		for n := 1; n < 4; n++ {
			x, want := make([]float32, n), make([]float32, n)
			for i := range x {
				x[i] = float32(round + i)
				want[i] = 2 * x[i]
			}
			y, replayed := double(x)
			assert.Equal(t, want, y)
			assert.Equal(t, round > 0, replayed)
		}
	}
	c.Reset()
}
