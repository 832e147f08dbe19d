package preprocess

import (
	"encoding/json"
	"fmt"
)

// HuggingFace returns the preprocessor_config.json with which transformers prepares images in the same way, except for the order: transformers goes
// to RGB before it resizes, which matters for palettes and transparency. What it cannot express is an error.
func (c Config) HuggingFace() ([]byte, error) {
	type size map[string]int
	j := struct {
		Type      string     `json:"image_processor_type"`
		Resize    bool       `json:"do_resize"`
		Size      size       `json:"size,omitempty"`
		Resample  int        `json:"resample"`
		Crop      bool       `json:"do_center_crop"`
		CropSize  size       `json:"crop_size,omitempty"`
		Rescale   bool       `json:"do_rescale"`
		Factor    float64    `json:"rescale_factor"`
		Normalize bool       `json:"do_normalize"`
		Mean      [3]float64 `json:"image_mean"`
		Std       [3]float64 `json:"image_std"`
		RGB       bool       `json:"do_convert_rgb"`
		Patch     int        `json:"patch_size,omitempty"`
		Patches   int        `json:"max_num_patches,omitempty"`
	}{Type: "CLIPImageProcessor", Resize: true, Resample: 3, Rescale: true, Factor: 1.0 / 255, Normalize: true,
		Mean: decimals(c.Mean, openAIMean), Std: decimals(c.Std, openAIStd), RGB: true}
	if c.Interpolation == Bilinear {
		j.Resample = 2
	}
	whole := size{"height": c.Size[0], "width": c.Size[1]}
	switch {
	case c.ResizeMode == Patches:
		j.Type, j.Patch, j.Patches = "Siglip2ImageProcessor", c.PatchSize, c.maxPatches()
	case c.ResizeMode == Squash:
		j.Type, j.Size = "SiglipImageProcessor", whole
	case c.ResizeMode != Shortest || c.Size[0] != c.Size[1]:
		return nil, fmt.Errorf("preprocess: transformers has no resize_mode %q to %dx%d pixels; shortest to a square and squash are its own", c.ResizeMode, c.Size[0], c.Size[1])
	default:
		edge := c.ShortestEdge
		if edge == 0 {
			edge = c.Size[0]
		}
		j.Size, j.Crop, j.CropSize = size{"shortest_edge": edge}, true, whole
	}
	return json.MarshalIndent(j, "", "  ")
}
