package preprocess

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// hfJSON is the part of preprocessor_config.json that decides pixels. Keys that are missing take the defaults of
// transformers' CLIPImageProcessor, SiglipImageProcessor or Siglip2ImageProcessor.
type hfJSON struct {
	Type         *string         `json:"image_processor_type"`
	OldType      *string         `json:"feature_extractor_type"`
	DoResize     *bool           `json:"do_resize"`
	Size         json.RawMessage `json:"size"`
	Resample     *int            `json:"resample"`
	DoCrop       *bool           `json:"do_center_crop"`
	CropSize     json.RawMessage `json:"crop_size"`
	DoRescale    *bool           `json:"do_rescale"`
	Factor       *float64        `json:"rescale_factor"`
	DoNormalize  *bool           `json:"do_normalize"`
	Mean         json.RawMessage `json:"image_mean"`
	Std          json.RawMessage `json:"image_std"`
	DoConvertRGB *bool           `json:"do_convert_rgb"`
	DoPad        *bool           `json:"do_pad"`
	PatchSize    *int            `json:"patch_size"`      // SigLIP 2's
	MaxPatches   *int            `json:"max_num_patches"` // likewise
}

// ParseHuggingFace reads the preprocessor_config.json of a CLIP or SigLIP model, in its present form and its older ones.
// The result follows transformers' Pillow image processors: to RGB first, then resized, cropped from (H-n)/2 rounded
// down, padded with black where the image is smaller than the crop. Alpha is dropped, as in transformers up to 4.57;
// version 5 lays transparent images on white. What no CLIP model needs is an error.
func ParseHuggingFace(data []byte) (Config, error) {
	var j hfJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return Config{}, fmt.Errorf("preprocess: reading the Hugging Face preprocessor configuration: %w", err)
	}
	kind, err := j.kind()
	if err != nil {
		return Config{}, err
	}
	if err := j.supported(); err != nil {
		return Config{}, err
	}
	c := DefaultConfig(224)
	c.Order = OrderHuggingFace
	switch kind {
	case "Siglip":
		c.Mean, c.Std = [3]float32{.5, .5, .5}, [3]float32{.5, .5, .5}
	case "Siglip2":
		if c, err = j.patches(); err != nil {
			return c, err
		}
	}
	if j.Resample != nil {
		c.Interpolation = map[int]string{2: Bilinear, 3: Bicubic}[*j.Resample]
	}
	if err := readTriple(&c.Mean, j.Mean, "image_mean"); err != nil {
		return Config{}, err
	}
	if err := readTriple(&c.Std, j.Std, "image_std"); err != nil {
		return Config{}, err
	}
	if !isTrue(j.DoNormalize, true) {
		c.Mean, c.Std = [3]float32{}, [3]float32{1, 1, 1}
	}
	if kind != "Siglip2" {
		if err := j.sizes(&c, kind == "Siglip"); err != nil {
			return Config{}, err
		}
	}
	return c, c.Validate()
}

func isTrue(v *bool, missing bool) bool {
	if v == nil {
		return missing
	}
	return *v
}

// kind is whose processor it is, because the defaults differ: CLIP's, Siglip's or Siglip2's.
func (j *hfJSON) kind() (string, error) {
	name := j.Type
	if name == nil {
		name = j.OldType
	}
	if name == nil {
		return "CLIP", nil
	}
	kind := strings.TrimSuffix(strings.TrimSuffix(*name, "Fast"), "Pil")
	switch kind = strings.TrimSuffix(strings.TrimSuffix(kind, "ImageProcessor"), "FeatureExtractor"); kind {
	case "CLIP", "Siglip", "Siglip2":
		return kind, nil
	}
	return "", fmt.Errorf("preprocess: image_processor_type %q is not read; CLIPImageProcessor, SiglipImageProcessor and Siglip2ImageProcessor are", *name)
}

// patches is Siglip2ImageProcessor's config.
func (j *hfJSON) patches() (Config, error) {
	patch, most := 16, 256
	for _, n := range []struct {
		key   string
		value *int
		to    *int
		limit int
	}{{"patch_size", j.PatchSize, &patch, 256}, {"max_num_patches", j.MaxPatches, &most, 1 << 16}} {
		if n.value == nil {
			continue
		}
		if *n.to = *n.value; *n.to < 1 || *n.to > n.limit {
			return Config{}, fmt.Errorf("preprocess: %s %d is not between 1 and %d", n.key, *n.to, n.limit)
		}
	}
	if isTrue(j.DoCrop, false) {
		return Config{}, fmt.Errorf("preprocess: do_center_crop true is not supported beside max_num_patches; it must be false")
	}
	return PatchesConfig(patch, most), nil
}

// supported refuses the switches that lead away from CLIP's steps.
func (j *hfJSON) supported() error {
	for _, s := range []struct {
		key       string
		value     *bool
		must, def bool
	}{
		{"do_resize", j.DoResize, true, true}, {"do_rescale", j.DoRescale, true, true},
		{"do_convert_rgb", j.DoConvertRGB, true, true}, {"do_pad", j.DoPad, false, false},
	} {
		if isTrue(s.value, s.def) != s.must {
			return fmt.Errorf("preprocess: %s %v is not supported; it must be %v", s.key, !s.must, s.must)
		}
	}
	if j.Factor != nil && math.Abs(*j.Factor*255-1) > 1e-9 {
		return fmt.Errorf("preprocess: rescale_factor %v is not supported; it must be 1/255", *j.Factor)
	}
	if j.Resample != nil && *j.Resample != 2 && *j.Resample != 3 {
		return fmt.Errorf("preprocess: resample %d is not supported; 2 (bilinear) and 3 (bicubic) are", *j.Resample)
	}
	return nil
}

// sizes reads size and crop_size.
func (j *hfJSON) sizes(c *Config, siglip bool) error {
	edge, pair := 224, [2]int{} // CLIP's
	if siglip {
		edge, pair = 0, [2]int{224, 224}
	}
	if !absent(j.Size) {
		var err error
		if edge, pair, err = hfSize(j.Size, "size", !siglip); err != nil {
			return err
		}
	}
	if !isTrue(j.DoCrop, !siglip) {
		if edge != 0 {
			return fmt.Errorf("preprocess: size has shortest_edge %d and do_center_crop is false, which gives images of "+
				"many shapes; size must have height and width", edge)
		}
		c.Size, c.ResizeMode = pair, Squash
		return nil
	}
	c.Size = [2]int{224, 224}
	if !absent(j.CropSize) {
		cropEdge, crop, err := hfSize(j.CropSize, "crop_size", false)
		if err != nil {
			return err
		}
		if cropEdge != 0 {
			return fmt.Errorf("preprocess: crop_size is %s; it must be a number or have height and width", j.CropSize)
		}
		c.Size = crop
	}
	switch {
	case edge != 0:
		c.ShortestEdge = edge
		if c.Size == [2]int{edge, edge} {
			c.ShortestEdge = 0 // what 0 stands for
		}
	case pair == c.Size:
		c.ResizeMode = Squash
	default:
		return fmt.Errorf("preprocess: a size of %dx%d that is then cropped to %dx%d is not supported; use shortest_edge",
			pair[0], pair[1], c.Size[0], c.Size[1])
	}
	return nil
}

// hfSize reads a number, {"shortest_edge"} or {"height", "width"}. A lone number is the shorter edge or a square.
func hfSize(raw json.RawMessage, key string, numberIsEdge bool) (edge int, pair [2]int, err error) {
	var n int
	if json.Unmarshal(raw, &n) == nil && n > 0 {
		if numberIsEdge {
			return n, pair, nil
		}
		return 0, [2]int{n, n}, nil
	}
	var keys map[string]int
	if json.Unmarshal(raw, &keys) == nil {
		h, hasH := keys["height"]
		w, hasW := keys["width"]
		e, hasE := keys["shortest_edge"]
		switch {
		case len(keys) == 2 && hasH && hasW:
			return 0, [2]int{h, w}, nil
		case len(keys) == 1 && hasE && e > 0:
			return e, pair, nil
		}
	}
	return 0, pair, fmt.Errorf("preprocess: %s is %s; it must be a number, {\"height\", \"width\"} or "+
		"{\"shortest_edge\"}", key, raw)
}
