package clip

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestMemoryOfGPU encodes while the device's memory is full: an error, and the features are those of before when there is
// room again.
func TestMemoryOfGPU(t *testing.T) {
	device := gputest.GPU(t)
	m := goldenModel(t, golden.Config(t, "tiny"))
	require.NoError(t, m.To(device))
	size := m.Config.Vision.ImageSize
	const n = 64
	pixels := make([]float32, n*3*size.Height*size.Width)
	for i, u := range golden.Uniform("pixels", len(pixels)) {
		pixels[i] = float32(u)
	}
	want, err := m.ImageFeatures(pixels, n)
	require.NoError(t, err)
	live := settled.Count(torch.LiveTensors)
	var full []*torch.Tensor
	for bytes := 1 << 40; bytes >= 1<<9; {
		if err := torch.Do(func(s *torch.Scope) { full = append(full, torch.Empty(s, device, torch.Uint8, bytes).Keep()) }); err != nil {
			require.ErrorContains(t, err, "out of memory")
			bytes /= 2
		}
	}
	_, err = m.ImageFeatures(pixels, n)
	assert.ErrorContains(t, err, "out of memory")
	for _, x := range full {
		x.Free()
	}
	have, err := m.ImageFeatures(pixels, n)
	require.NoError(t, err)
	assert.Equal(t, want, have)
	assert.Equal(t, live, torch.LiveTensors())
}

// TestGPUStandIn runs every kind of tower on the stand-in, with and without packed texts.
func TestGPUStandIn(t *testing.T) {
	gputest.Run(t, "^(TestOnGPU|TestMemoryOfGPU)$", "STUB_MEMORY=100000000")
	gputest.Run(t, "^TestOnGPU$", "STUB_CAPABILITY=75")
}
