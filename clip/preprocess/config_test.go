package preprocess

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigReadsOpenClip(t *testing.T) {
	// The preprocess_cfg of an open_clip model directory.
	const siglip = `{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic",
		"resize_mode": "squash"}`
	var c Config
	require.NoError(t, json.Unmarshal([]byte(siglip), &c))
	assert.Equal(t, Config{Size: [2]int{224, 224}, Mode: "RGB", Mean: [3]float32{.5, .5, .5},
		Std: [3]float32{.5, .5, .5}, Interpolation: Bicubic, ResizeMode: Squash}, c)

	require.NoError(t, json.Unmarshal([]byte(`{"size": [240, 320], "mean": 0.0, "std": 1, "fill_color": null,
		"timm_extra": true}`), &c))
	assert.Equal(t, [2]int{240, 320}, c.Size)
	assert.Equal(t, [3]float32{1, 1, 1}, c.Std)
	assert.Equal(t, Squash, c.ResizeMode, "a missing key keeps its value")
}

func TestConfigRoundTrip(t *testing.T) {
	for _, size := range [][2]int{{64, 64}, {64, 96}} {
		c := DefaultConfig(64)
		c.Size = size
		data, err := json.Marshal(c)
		require.NoError(t, err)
		if size[0] == size[1] {
			assert.JSONEq(t, `{"size":64,"mode":"RGB","mean":[0.48145466,0.4578275,0.40821073],
				"std":[0.26862954,0.26130258,0.27577711],"interpolation":"bicubic","resize_mode":"shortest",
				"fill_color":0}`, string(data))
		}
		var back Config
		require.NoError(t, json.Unmarshal(data, &back))
		assert.Equal(t, c, back)
	}
}

func TestConfigErrors(t *testing.T) {
	for text, says := range map[string]string{
		`{"size": 0}`:                    "size 0 is not between",
		`{"size": "big"}`:                "size is \"big\"",
		`{"size": [1, 2, 3]}`:            "size is [1, 2, 3]",
		`{"mean": [1, 2]}`:               "mean is [1, 2]",
		`{"std": [1, 0, 1]}`:             "std[1] is 0",
		`{"mode": "L"}`:                  "mode \"L\"",
		`{"interpolation": "nearest"}`:   "interpolation \"nearest\"",
		`{"resize_mode": "stretch"}`:     "resize_mode \"stretch\"",
		`{"fill_color": 300}`:            "fill_color 300",
		`{"size": {"shortest_edge": 3}}`: "size is {",
		`[]`:                             "reading the preprocess configuration",
	} {
		before := DefaultConfig(32)
		c := before
		err := json.Unmarshal([]byte(text), &c)
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), says)
		assert.Equal(t, before, c, "a refused configuration changes nothing")
	}
}

func TestAugConfigErrors(t *testing.T) {
	for name, aug := range map[string]AugConfig{
		"scale reversed":  {Scale: [2]float64{1, 0.5}},
		"scale above 1":   {Scale: [2]float64{0.5, 1.5}},
		"ratio negative":  {Ratio: [2]float64{-1, 1}},
		"probability":     {GrayScaleProb: 1.5},
		"jitter missing":  {ColorJitterProb: 0.5},
		"jitter negative": {ColorJitterProb: 0.5, ColorJitter: []float64{-1, 0, 0, 0}},
		"hue above half":  {ColorJitterProb: 0.5, ColorJitter: []float64{0, 0, 0, 0.6}},
	} {
		_, err := NewTrainTransform(DefaultConfig(32), aug)
		assert.Error(t, err, name)
	}
}
