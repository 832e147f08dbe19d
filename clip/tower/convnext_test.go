package tower

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/timm"
	"github.com/goclip/goclip/torch"
)

// TestDropPath finds a branch whole or not at all, the same for an image's every place, and as
// large on average as without stochastic depth.
func TestDropPath(t *testing.T) {
	for _, dtype := range []torch.DType{torch.Float32, torch.BFloat16} {
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			const images, numbers = 4000, 2 * 3 * 5
			torch.ManualSeed(1)
			y := dropPath(torch.Ones(s, torch.CPU, dtype, images, 2, 3, 5), 0.25)
			assert.Equal(t, dtype, y.DType())
			got := torch.ToSlice[float32](y.To(torch.CPU, torch.Float32))
			dropped := 0
			for i := range images {
				image := got[i*numbers : (i+1)*numbers]
				for _, x := range image {
					require.Equal(t, image[0], x)
				}
				if image[0] == 0 {
					dropped++
				} else {
					require.InDelta(t, 1/0.75, image[0], 0.01)
				}
			}
			assert.InDelta(t, 0.25, float64(dropped)/images, 0.035, "five standard deviations")
		}))
	}
}

// TestDropPathRates rises from none to the config's rate over all blocks (timm layers/drop.py
// calculate_drop_path_rates).
func TestDropPathRates(t *testing.T) {
	timm.ConvNeXts["convnext_rates"] = timm.ConvNeXt{Depths: [4]int{1, 2, 1, 1}, Widths: [4]int{2, 3, 4, 5}, Eps: 1e-6}
	defer delete(timm.ConvNeXts, "convnext_rates")
	c, err := ParseConfig([]byte(`{"embed_dim":4,"vision_cfg":{"image_size":32,"timm_model_name":"convnext_rates","timm_proj":"linear","timm_drop_path":0.4},
		"text_cfg":{"context_length":4,"vocab_size":8,"width":4,"heads":1,"layers":1}}`))
	require.NoError(t, err)
	var rates []float64
	for _, stage := range Image(c).(*ConvNeXt).Stages {
		for _, b := range stage.Blocks {
			rates = append(rates, b.dropPath)
		}
	}
	assert.InDeltaSlice(t, []float64{0, 0.1, 0.2, 0.3, 0.4}, rates, 1e-12)
}
