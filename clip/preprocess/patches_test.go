package preprocess

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patchGoldens are testdata/preprocess/make_patches.py's.
type patchGoldens struct {
	Sizes  [][6]int
	Images []struct {
		File, SHA256 string
		Config       json.RawMessage
		Grid         [2]int
		Kept         int
	}
}

// unlaid undoes lay: the patches in transformers' order, (N, P*P*3), and the grid that stands before them.
func unlaid(c Config, laid []float32) (patches []float32, rows, columns int) {
	size, width, plane := c.PatchSize, c.Size[1], c.Size[0]*c.Size[1]
	for i := range c.maxPatches() {
		at := (1+i/(width/size))*size*width + i%(width/size)*size
		for y := range size {
			for x := range size {
				for channel := range 3 {
					patches = append(patches, laid[channel*plane+at+y*width+x])
				}
			}
		}
	}
	return patches, int(laid[0])*256 + int(laid[1]), int(laid[plane])*256 + int(laid[plane+1])
}

// TestPatches holds sizes, grids and pixels against transformers' Siglip2ImageProcessor.
func TestPatches(t *testing.T) {
	var g patchGoldens
	require.NoError(t, json.Unmarshal(readGolden(t, "patches.json"), &g))
	require.Len(t, g.Sizes, 500)
	for _, s := range g.Sizes {
		c := PatchesConfig(s[2], s[3])
		require.Equal(t, s[3], c.maxPatches())
		w, h := c.flexibleSize(s[0], s[1])
		require.Equal(t, s[4:], []int{h, w}, "%v", s)
	}
	require.Len(t, g.Images, 60)
	for _, p := range g.Images {
		t.Run(fmt.Sprintf("%s %s", p.File, p.Config), func(t *testing.T) {
			c, err := ParseHuggingFace(p.Config)
			require.NoError(t, err)
			transform, err := NewTransform(c)
			require.NoError(t, err)
			dst := bytes.Repeat([]byte{1}, 4*transform.Len()) // what was there before does not stay
			values := make([]float32, transform.Len())
			require.NoError(t, binary.Read(bytes.NewReader(dst), binary.LittleEndian, values))
			require.NoError(t, transform.File(t.Context(), values, filepath.Join(goldenDir, "pictures", p.File)))
			patches, rows, columns := unlaid(c, values)
			assert.Equal(t, p.Grid, [2]int{rows, columns})
			assert.Equal(t, p.Kept, rows*columns)
			if !exact(p.File) {
				return
			}
			var data bytes.Buffer
			require.NoError(t, binary.Write(&data, binary.LittleEndian, patches))
			assert.Equal(t, p.SHA256, sha(data.Bytes()))
		})
	}
}

// TestPatchesConfig takes a config through both libraries' JSON, and refuses what does not fit together.
func TestPatchesConfig(t *testing.T) {
	c, err := ParseHuggingFace([]byte(`{"image_processor_type": "Siglip2ImageProcessorFast", "patch_size": 14, "max_num_patches": 576, "do_convert_rgb": null}`))
	require.NoError(t, err)
	assert.Equal(t, PatchesConfig(14, 576), c)
	assert.Equal(t, [2]int{25 * 14, 24 * 14}, c.Size)
	data, err := json.Marshal(c)
	require.NoError(t, err)
	var back Config
	require.NoError(t, json.Unmarshal(data, &back))
	assert.Equal(t, c, back)
	data, err = c.HuggingFace()
	require.NoError(t, err)
	back, err = ParseHuggingFace(data)
	require.NoError(t, err)
	assert.Equal(t, c, back)

	for text, says := range map[string]string{
		`{"image_processor_type": "Siglip2ImageProcessor", "patch_size": 0}`:           "patch_size 0 is not between 1 and 256",
		`{"image_processor_type": "Siglip2ImageProcessor", "max_num_patches": 100000}`: "max_num_patches 100000 is not between 1 and 65536",
		`{"image_processor_type": "Siglip2ImageProcessor", "do_center_crop": true}`:    "do_center_crop true is not supported beside max_num_patches",
		`{"image_processor_type": "Siglip2ImageProcessor", "do_resize": false}`:        "do_resize false is not supported",
	} {
		_, err := ParseHuggingFace([]byte(text))
		assert.ErrorContains(t, err, says, text)
	}
	for says, change := range map[string]func(*Config){
		"patch_size is 0 and resize_mode \"patches\"":              func(c *Config) { c.PatchSize = 0 },
		"patch_size is 14 and resize_mode \"squash\"":              func(c *Config) { c.ResizeMode = Squash },
		"size [350 336] must be rows and columns of patch_size 13": func(c *Config) { c.PatchSize = 13 },
		"with one row more than there are of patches":              func(c *Config) { c.Size[0] = 14 },
	} {
		bad := c
		change(&bad)
		_, err := NewTransform(bad)
		assert.ErrorContains(t, err, says)
	}
}

// TestPatchesInTraining has crops keep an image's shape, and the whole image without augmentation be the evaluation's.
func TestPatchesInTraining(t *testing.T) {
	c := PatchesConfig(8, 64)
	c.Interpolation = Bicubic // training's
	img := decodeGolden(t, "rgb_129x200.png")
	whole, err := NewTrainTransform(c, AugConfig{Scale: [2]float64{1, 1}, Ratio: [2]float64{1, 1}})
	require.NoError(t, err)
	plain, err := NewTransform(c)
	require.NoError(t, err)
	want, got := make([]float32, plain.Len()), make([]float32, whole.Len())
	require.NoError(t, plain.Apply(want, img))
	require.NoError(t, whole.Apply(got, img, rand.New(rand.NewPCG(1, 2))))
	assert.Equal(t, want, got)

	crops, err := NewTrainTransform(c, AugConfig{})
	require.NoError(t, err)
	seen := map[[2]int]bool{}
	for i := range 50 {
		require.NoError(t, crops.Apply(got, img, rand.New(rand.NewPCG(uint64(i), 2))))
		_, rows, columns := unlaid(c, got)
		require.LessOrEqual(t, rows*columns, 64)
		seen[[2]int{rows, columns}] = true
	}
	assert.GreaterOrEqual(t, len(seen), 2)
	for grid := range seen {
		assert.Greater(t, grid[0], grid[1], "the image is upright")
	}
}

func TestPatchesSeen(t *testing.T) {
	transform, err := NewTransform(PatchesConfig(16, 256))
	require.NoError(t, err)
	x0, y0, x1, y1 := transform.Seen(501, 333)
	assert.Equal(t, []float64{0, 0}, []float64{x0, y0})
	assert.InDelta(t, 501, x1, 1e-9)
	assert.InDelta(t, 333, y1, 1e-9)
}
