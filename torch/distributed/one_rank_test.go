package distributed

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// oneRank holds the collectives of a backend with a single rank on d, which Init leaves out, against their definition: that
// takes one GPU where NCCL wants another for each rank.
func oneRank(t *testing.T, backend string, d torch.Device, address string) {
	g := &Group{world: World{Size: 1, LocalSize: 1}, options: Options{Backend: backend, Device: d, Timeout: time.Minute}}
	var err error
	g.store, err = Serve(0)
	require.NoError(t, err)
	defer g.hangUp()
	require.NoError(t, g.open(address))
	g.world.Size = 2 // or nothing would be given to the backend
	for _, dtype := range []torch.DType{torch.Float32, torch.BFloat16, torch.Float16, torch.Float64, torch.Int64} {
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			x := torch.FromSlice(s, []int64{1, 2, 3, 4}, 4).To(d, dtype)
			g.AllReduce(x)
			gathered, part := g.AllGather(x.View(2, 2)), g.ReduceScatter(x)
			g.Broadcast(x, 0)
			for _, y := range []*torch.Tensor{x, gathered, part} {
				assert.Equal(t, []int64{1, 2, 3, 4}, values(y))
			}
		}))
		require.NoError(t, g.Check())
	}
}

func TestOneRank(t *testing.T) { oneRank(t, "gloo", torch.CPU, "127.0.0.1") }
