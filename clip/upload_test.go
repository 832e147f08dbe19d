package clip

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
)

// TestUploadedBytes holds what a device makes of bytes against the transform's numbers, bit for bit:
// the device's operations are libtorch's, as on the CPU.
func TestUploadedBytes(t *testing.T) {
	m := goldenModel(t, golden.Config(t, "tiny"))
	tr, err := m.Transform()
	require.NoError(t, err)
	size := tr.Config().Size
	img := &preprocess.Image{Width: 60, Height: 40, Mode: preprocess.ModeRGB, Pix: make([]uint8, 3*60*40)}
	for i := range img.Pix {
		img.Pix[i] = uint8(i * i / 7)
	}
	pixels := make([]float32, 2*tr.Len())
	for i := range 2 {
		require.NoError(t, tr.Apply(pixels[i*tr.Len():][:tr.Len()], img))
	}
	var buffer []uint8
	bytes := m.imageBytes(pixels, &buffer)
	require.Len(t, bytes, len(pixels))
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		x := normalised(torch.FromSlice(s, bytes, 2, 3, size[0], size[1]), tr.Config())
		assert.Equal(t, []int{2, 3, size[0], size[1]}, x.Shape())
		for i, v := range torch.ToSlice[float32](x) {
			require.Equal(t, math.Float32bits(pixels[i]), math.Float32bits(v), "%d: %v, not %v", i, v, pixels[i])
		}
	}))
	u, err := m.UploadImages(pixels, 2)
	require.NoError(t, err)
	defer u.Free()
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		assert.Equal(t, pixels, torch.ToSlice[float32](m.Uploaded(s, u)))
	}))
	pixels[5] = 0.1234 // of no byte
	assert.Nil(t, m.imageBytes(pixels, &buffer))
}
