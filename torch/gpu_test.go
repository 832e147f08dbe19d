package torch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestMemoryOfGPU asks for more than there is: an error, after which the device computes as before.
func TestMemoryOfGPU(t *testing.T) {
	d := gputest.GPU(t)
	live := settled.Count(torch.LiveTensors)
	for range 3 {
		err := torch.Do(func(s *torch.Scope) { torch.Zeros(s, d, torch.Float32, 1<<40) })
		assert.ErrorContains(t, err, "out of memory")
		assert.NotErrorIs(t, err, torch.ErrDeviceLost)
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			assert.Equal(t, 1024., torch.Ones(s, d, torch.Float32, 1024).Sum().Item())
		}))
	}
	assert.Equal(t, live, torch.LiveTensors())
}

// TestStreamsOnGPU computes on the device what was uploaded beside its work.
func TestStreamsOnGPU(t *testing.T) {
	d := gputest.GPU(t)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		sum := torch.Zeros(s, d, torch.Float32)
		for i := range 4 {
			u, err := torch.NewUpload([]float32{float32(i), 1}, d, 2)
			require.NoError(t, err)
			sum = sum.Add(s.Alias(u.Tensor()).Sum())
			u.Free()
		}
		assert.Equal(t, 10., sum.Item())
	}))
}

// TestGPUStandIn runs the tests above, and others, on the stand-in, which sees what waits for what.
func TestGPUStandIn(t *testing.T) {
	gputest.Run(t, "^(TestMemoryOfGPU|TestStreamsOnGPU|TestUpload|TestVarlenAttention)$", "STUB_MEMORY=100000000")
	for what, seen := range map[string]string{
		"waits":   "takes what is written by work of stream 1, which it has not waited for",
		"records": "frees what is used by work of stream 0, which it has not waited for",
	} {
		out := gputest.Run(t, "^TestStreamsOnGPU$", "STUB_FORGETS="+what)
		assert.Contains(t, out, seen, "a device that forgets its streams' %s", what)
	}
}
