//go:build parity

package clip

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch/checkpoint"
)

// opening is open.json, by which testdata/parity/formats.py says how its files are opened. Without one, a directory is
// open_clip's with safetensors.
type opening struct {
	Format        string `json:"format"` // a key of formatChecks
	Config        string `json:"config"` // a built-in config, or
	Path          string `json:"path"`   // a file or the directory itself; the files from here on lie in the directory
	Pretrained    string `json:"pretrained"`
	ImageTower    string `json:"image_tower"`
	TextTower     string `json:"text_tower"`
	ImageSize     int    `json:"image_size"`
	ContextLength int    `json:"context_length"`
}

func readOpening(t *testing.T, dir string) (o opening, ok bool) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "open.json"))
	if os.IsNotExist(err) {
		return o, false
	}
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &o))
	return o, true
}

func (o opening) name(dir string) string {
	if o.Config != "" {
		return o.Config
	}
	return filepath.Join(dir, o.Path)
}

func (o opening) options(dir string) OpenOptions {
	in := func(file string) string {
		if file == "" {
			return ""
		}
		return filepath.Join(dir, file)
	}
	return OpenOptions{Pretrained: in(o.Pretrained), ImageTower: in(o.ImageTower), TextTower: in(o.TextTower),
		ImageSize: o.ImageSize, ContextLength: o.ContextLength}
}

// check fails unless the files are of the format that the row names: a row that took another way would agree as well.
func (o opening) check(t *testing.T, dir string, m *Model) {
	t.Helper()
	check, ok := formatChecks[o.Format]
	require.True(t, ok, "open.json names the format %q", o.Format)
	check(formatFiles{t, dir, o, m})
}

type formatFiles struct {
	*testing.T
	dir string
	opening
	model *Model
}

var formatChecks = map[string]func(formatFiles){
	"hf": func(f formatFiles) {
		f.onlyWeights("model.safetensors")
		f.hugging("model.safetensors")
	},
	"hf-shards": func(f formatFiles) {
		f.shards("model-*-of-*.safetensors", "model.safetensors.index.json")
	},
	"hf-bin": func(f formatFiles) {
		for _, shard := range f.shards("pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json") {
			f.torchSave(shard)
		}
	},
	"openai-jit": func(f formatFiles) {
		f.onlyWeights(f.Path)
		f.noConfig()
		require.True(f, f.isZip(f.Path, "/constants.pkl") && f.isZip(f.Path, ".py"), "it is not a TorchScript archive")
		c := f.open(f.Path)
		for _, name := range []string{"input_resolution", "context_length", "vocab_size"} {
			assert.Contains(f, c.Names(), name)
		}
		first, _ := c.Entry("visual.conv1.weight")
		assert.Equal(f, checkpoint.F16, first.DType, "OpenAI's weights are in half precision")
		assert.True(f, f.model.Config.QuickGELU, "OpenAI's models have QuickGELU")
	},
	"pt": func(f formatFiles) {
		f.onlyWeights(f.Pretrained)
		f.torchSave(f.Pretrained)
		c := f.open(f.Pretrained)
		assert.Equal(f, "1", c.Metadata()["epoch"])
		for _, name := range c.Names() {
			require.True(f, strings.HasPrefix(name, "module."), name)
		}
		info, err := os.Stat(filepath.Join(f.dir, f.Pretrained))
		require.NoError(f, err)
		assert.Greater(f, info.Size(), 3*4*int64(f.model.NumParameters()), "AdamW's two moments lie beside the weights")
	},
	"legacy": func(f formatFiles) {
		f.onlyWeights(f.Pretrained)
		const magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" // pickled 0x1950a86a20f9469cfc6c (torch/serialization.py)
		require.True(f, bytes.HasPrefix(f.begin(f.Pretrained), []byte(magic)), "it is not a file of torch.save before PyTorch 1.6")
	},
	"bin": func(f formatFiles) {
		f.onlyWeights("open_clip_pytorch_model.bin")
		f.torchSave("open_clip_pytorch_model.bin")
	},
	"towers": func(f formatFiles) {
		f.onlyWeights(f.Pretrained, f.ImageTower, f.TextTower)
		f.torchSave(f.ImageTower)
		f.torchSave(f.TextTower)
		assert.Subset(f, f.open(f.ImageTower).Names(), []string{"conv_proj.weight", "heads.head.weight"})
		assert.Subset(f, f.open(f.TextTower).Names(), []string{"roberta.embeddings.word_embeddings.weight", "lm_head.dense.weight"})
		c := f.open(f.Pretrained)
		for _, name := range c.Names() { // towers that were not read would give features of nothing
			e, _ := c.Entry(name)
			zero := len(bytes.Trim(e.Data, "\x00")) == 0
			require.Equal(f, !isProjection(strings.TrimPrefix(strings.TrimPrefix(name, "visual."), "text.")) && name != "logit_scale", zero, name)
		}
	},
	"resized": func(f formatFiles) {
		f.onlyWeights(f.Pretrained)
		c, changed := f.open(f.Pretrained), 0
		for key, p := range f.model.State() {
			e, ok := c.Entry(key)
			require.True(f, ok, key)
			if !sameShape(e.Shape, p.Shape()) {
				require.True(f, strings.HasSuffix(key, "positional_embedding"), key)
				changed++
			}
		}
		require.Equal(f, 1, changed, "one table of positions has another size")
	},
}

// onlyWeights says that the directory holds no other weights, from which the model could have come.
func (f formatFiles) onlyWeights(names ...string) {
	f.Helper()
	entries, err := os.ReadDir(f.dir)
	require.NoError(f, err)
	var found []string
	for _, e := range entries {
		switch e.Name() {
		case "outputs.safetensors", "reference.json", "open.json", "row.json", "config.json", ConfigFile:
		default:
			found = append(found, e.Name())
		}
	}
	require.ElementsMatch(f, names, found)
}

func (f formatFiles) noConfig() {
	f.Helper()
	for _, name := range []string{ConfigFile, hfConfigFile} {
		require.NoFileExists(f, filepath.Join(f.dir, name), "the architecture would be read there")
	}
}

// hugging says that the weights have transformers' names, beside transformers' config.
func (f formatFiles) hugging(weights string) {
	f.Helper()
	require.NoFileExists(f, filepath.Join(f.dir, ConfigFile))
	require.FileExists(f, filepath.Join(f.dir, hfConfigFile))
	names := f.open(weights).Names()
	for _, of := range []string{"vision_model.encoder.layers.11.self_attn.q_proj.weight|vision_model.encoder.layer.11.self_attn.q_proj.weight", "text_model.embeddings.token_embedding.weight|text_model.embeddings.word_embeddings.weight|text_model.roberta.embeddings.word_embeddings.weight"} {
		assert.True(f, slices.ContainsFunc(names, func(name string) bool {
			return slices.Contains(strings.Split(of, "|"), strings.TrimPrefix(name, "clip."))
		}), of)
	}
}

// shards says that the weights lie in several files, which an index names.
func (f formatFiles) shards(pattern, index string) (names []string) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join(f.dir, pattern))
	require.NoError(f, err)
	require.Greater(f, len(paths), 1)
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	f.onlyWeights(append(names[:len(names):len(names)], index)...)
	f.hugging(index)
	return names
}

// torchSave says that a file is an archive of torch.save and not TorchScript.
func (f formatFiles) torchSave(name string) {
	f.Helper()
	require.True(f, f.isZip(name, "/data.pkl") && !f.isZip(name, "/constants.pkl"), "%s is not an archive of torch.save", name)
}

// isZip reports whether a file is a zip archive with a file in it whose name ends so.
func (f formatFiles) isZip(name, suffix string) bool {
	f.Helper()
	z, err := zip.OpenReader(filepath.Join(f.dir, name))
	require.NoError(f, err)
	defer z.Close()
	for _, file := range z.File {
		if strings.HasSuffix(file.Name, suffix) {
			return true
		}
	}
	return false
}

func (f formatFiles) begin(name string) []byte {
	f.Helper()
	file, err := os.Open(filepath.Join(f.dir, name))
	require.NoError(f, err)
	defer file.Close()
	head := make([]byte, 64)
	_, err = file.Read(head)
	require.NoError(f, err)
	return head
}

func (f formatFiles) open(name string) *checkpoint.File {
	f.Helper()
	c, err := checkpoint.Open(filepath.Join(f.dir, name))
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, c.Close()) })
	return c
}
