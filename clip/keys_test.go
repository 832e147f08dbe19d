package clip

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// TestLayouts loads what other programs leave (testdata/clip/make_layouts.py), bit for bit, and half-precision weights
// as their float32 values; into the flat layout and into open_clip's with the text tower apart.
func TestLayouts(t *testing.T) {
	const dir = "../testdata/clip/layouts"
	text, err := os.ReadFile(filepath.Join(dir, "tiny.json"))
	require.NoError(t, err)
	for _, custom := range []bool{false, true} {
		c, err := tower.ParseConfig(text)
		require.NoError(t, err)
		want := goldenModel(t, c)
		for name, within := range map[string]float64{"epoch_1.pt": 0, "state_dict.pt": 0, "custom.pt": 0, "openai.pt": 1e-3} {
			d := *c
			d.CustomText = custom
			m := allocate(&d)
			require.NoError(t, m.load("tiny", OpenOptions{}, description{weights: filepath.Join(dir, name)}), name)
			loaded := map[string]*torch.Tensor{}
			for key, p := range m.State() {
				loaded[strings.TrimPrefix(key, "text.")] = p
			}
			for key, p := range want.State() {
				require.Contains(t, loaded, key, name)
				assert.InDeltaSlice(t, torch.ToSlice[float32](p.Detach()), torch.ToSlice[float32](loaded[key].Detach()), within, "%s %s", name, key)
			}
		}
		d := *c
		d.QuickGELU = false
		err = allocate(&d).load("tiny", OpenOptions{}, description{weights: filepath.Join(dir, "openai.pt")})
		assert.ErrorContains(t, err, "was trained with quick_gelu=true and the config says false")
	}
}

// TestDirectoryOfABin opens open_clip's directory whose weights are a .bin.
func TestDirectoryOfABin(t *testing.T) {
	const layouts = "../testdata/clip/layouts"
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join(layouts, "tiny.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, ConfigFile), []byte(`{"model_cfg":`+string(config)+`}`), 0o644))
	_, err = Open(t.Context(), dir, nil)
	require.ErrorContains(t, err, WeightsFile+": no such file")
	weights, err := os.ReadFile(filepath.Join(layouts, "epoch_1.pt"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "open_clip_pytorch_model.bin"), weights, 0o644))
	m, err := Open(t.Context(), dir, nil)
	require.NoError(t, err)
	rows, err := m.TextFeatures([]int64{62, 5, 63, 0, 0, 0, 0, 0}, 1)
	require.NoError(t, err)
	assert.Len(t, rows, 8)
	rows, err = m.TextFeatures(nil, 0)
	require.NoError(t, err)
	assert.Empty(t, rows)
	size := m.Config.Vision.ImageSize
	for preprocessing, wants := range map[string]string{
		`{"interpolation":"bilinear"}`: "", // no size is the model's
		`null`:                         "",
		`{"size":224}`:                 "preprocessing makes images of [224 224] pixels, the model takes ",
		`{"size":"big"}`:               `size is "big"; it must be a number`,
	} {
		text := `{"model_cfg":` + string(config) + `,"preprocess_cfg":` + preprocessing + `}`
		require.NoError(t, os.WriteFile(filepath.Join(dir, ConfigFile), []byte(text), 0o644))
		m, err := Open(t.Context(), dir, nil)
		if wants != "" {
			assert.ErrorContains(t, err, wants)
			continue
		}
		require.NoError(t, err, preprocessing)
		assert.Equal(t, [2]int{size.Height, size.Width}, m.Preprocess.Size, preprocessing)
	}
	_, err = m.EncodeTexts(t.Context(), "a dog")
	assert.ErrorContains(t, err, "has an embedding of 64 tokens, and CLIP's vocabulary has 49408")
}
