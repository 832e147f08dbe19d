package preprocess

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseHuggingFace(t *testing.T) {
	clip := DefaultConfig(224)
	clip.Order = OrderHuggingFace
	siglip := clip
	siglip.Mean, siglip.Std, siglip.ResizeMode = [3]float32{.5, .5, .5}, [3]float32{.5, .5, .5}, Squash
	margin := clip
	margin.ShortestEdge, margin.Size = 256, [2]int{224, 200}
	raw := clip
	raw.Mean, raw.Std, raw.Interpolation = [3]float32{}, [3]float32{1, 1, 1}, Bilinear
	for text, want := range map[string]Config{
		`{}`: clip,
		`{"crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true, "size": 224, "resample": 3,
			"feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
			"image_std": [0.26862954, 0.26130258, 0.27577711]}`: clip,
		`{"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 224},
			"crop_size": {"height": 224, "width": 224}, "rescale_factor": 0.00392156862745098}`: clip,
		`{"image_processor_type": "SiglipImageProcessor"}`: siglip,
		`{"image_processor_type": "SiglipImageProcessor", "size": {"height": 224, "width": 224}, "do_convert_rgb": null,
			"processor_class": "SiglipProcessor"}`: siglip,
		`{"size": {"shortest_edge": 256}, "crop_size": {"width": 200, "height": 224}}`: margin,
		`{"do_normalize": false, "resample": 2}`:                                       raw,
	} {
		got, err := ParseHuggingFace([]byte(text))
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)

		data, err := json.Marshal(got)
		require.NoError(t, err)
		var back Config
		require.NoError(t, json.Unmarshal(data, &back))
		assert.Equal(t, got, back, "through open_clip's JSON")
	}
}

func TestParseHuggingFaceErrors(t *testing.T) {
	for text, says := range map[string]string{
		`[]`:                         "reading the Hugging Face preprocessor configuration",
		`{"do_resize": false}`:       "do_resize false is not supported; it must be true",
		`{"do_rescale": false}`:      "do_rescale false",
		`{"do_convert_rgb": false}`:  "do_convert_rgb false",
		`{"do_pad": true}`:           "do_pad true is not supported; it must be false",
		`{"rescale_factor": 0.0078}`: "rescale_factor 0.0078",
		`{"resample": 1}`:            "resample 1 is not supported; 2 (bilinear) and 3 (bicubic) are",
		`{"do_center_crop": false}`:  "images of many shapes",
		`{"image_processor_type": "DonutImageProcessor"}`:       `"DonutImageProcessor" is not read`,
		`{"size": {"longest_edge": 224}}`:                       "size is {",
		`{"size": {"shortest_edge": 224, "longest_edge": 448}}`: "size is {",
		`{"crop_size": {"shortest_edge": 224}}`:                 "crop_size is {",
		`{"crop_size": [224, 224]}`:                             "crop_size is [224, 224]",
		`{"size": {"height": 256, "width": 256}}`:               "256x256 that is then cropped to 224x224",
		`{"size": 0}`:                                            "size is 0",
		`{"image_mean": [0.5]}`:                                  "image_mean is [0.5]",
		`{"image_std": [0, 0, 0]}`:                               "std[0] is 0",
		`{"size": {"shortest_edge": 100000}}`:                    "shortest_edge 100000",
		`{"crop_size": {"height": -1, "width": 224}, "size": 5}`: "size -1",
	} {
		_, err := ParseHuggingFace([]byte(text))
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), says)
	}
}

func TestHuggingFaceCropRoundsDown(t *testing.T) {
	for gap, want := range []int{0, 0, 1, 1, 2, 2} {
		s, pad := windowDown(500, 10+gap, 10)
		assert.Equal(t, want, s.from, "gap %d", gap)
		assert.Zero(t, pad)
	}
	_, pad := windowDown(7, 7, 10)
	assert.Equal(t, 2, pad)
}
