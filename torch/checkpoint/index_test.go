package checkpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch/checkpoint"
)

func TestHostileIndex(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(outside, "model")
	require.NoError(t, os.Mkdir(dir, 0o755))
	tensor := func(name string) string { return `"` + name + `":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}` }
	for path, header := range map[string]string{"model/one": tensor("a"), "model/two": tensor("b"), "three": tensor("c")} {
		require.NoError(t, os.WriteFile(filepath.Join(outside, path), file("{"+header+"}", 1), 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad"), []byte("This is certainly not a checkpoint"), 0o644))
	index := filepath.Join(dir, "model.safetensors.index.json")
	read := func(text string) (*checkpoint.File, error) {
		require.NoError(t, os.WriteFile(index, []byte(text), 0o644))
		return checkpoint.Open(index)
	}
	f, err := read(` {"metadata":{"total_size":12345678901234567,"x":null},"weight_map":{"b":"two","a":"one"}}`)
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, f.Names())
	assert.Equal(t, map[string]string{"total_size": "12345678901234567"}, f.Metadata())
	require.NoError(t, f.Close())

	for _, c := range []struct{ name, want, text string }{
		{"no map", "without a weight_map", `{"model_type":"clip"}`},
		{"empty map", "without a weight_map", `{"weight_map":{}}`},
		{"cut off", "it ends too early", `{"weight_map":{"a":"one"`},
		{"map of numbers", "cannot unmarshal number", `{"weight_map":{"a":1}}`},
		{"map of nothing", "not an object", `{"weight_map":null}`},
		{"two maps", "weight_map is given twice", `{"weight_map":{"a":"one"},"weight_map":{"b":"two"}}`},
		{"twice", `tensor "a" is listed twice`, `{"weight_map":{"a":"one","a":"two"}}`},
		{"something after", "something follows", `{"weight_map":{"a":"one"}} {}`},
		{"outside", `"../three", which is not a name of a file in the index's directory`, `{"weight_map":{"c":"../three"}}`},
		{"absolute", "not a name of a file in the index's directory", `{"weight_map":{"c":"` + outside + `/three"}}`},
		{"parent", "not a name of a file in the index's directory", `{"weight_map":{"c":".."}}`},
		{"no name", "not a name of a file in the index's directory", `{"weight_map":{"c":""}}`},
		{"backslash", "not a name of a file in the index's directory", `{"weight_map":{"c":"..\\three"}}`},
		{"line feed", "not a name of a file in the index's directory", `{"weight_map":{"c":"a\nb"}}`},
		{"missing shard", "no such file", `{"weight_map":{"a":"one","b":"zwei"}}`},
		{"bad shard", "model/bad: it is neither", `{"weight_map":{"a":"one","b":"bad"}}`},
		{"index in an index", "holds no weights itself", `{"weight_map":{"a":"model.safetensors.index.json"}}`},
		{"other shard", `tensor "a" is not in two, where the index says it is`, `{"weight_map":{"a":"two"}}`},
		{"unlisted", `tensor "b" in two is listed elsewhere`, `{"weight_map":{"a":"one","b":"one"}}`},
		{"metadata of a list", "its metadata: ", `{"metadata":[1],"weight_map":{"a":"one"}}`},
		{"many shards", "it names more than 1024 files", `{"weight_map":{` + listed(1025, `"%[1]d":"%[1]d"`) + `}}`},
		{"long metadata", "its metadata is too long", `{"metadata":{"a":"` + strings.Repeat("a", 1<<17) + `"}}`},
		{"long", "must have at most", `{"weight_map":{"` + strings.Repeat("a", 1<<23) + `":"one"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "unlisted" {
				both := `"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}`
				require.NoError(t, os.WriteFile(filepath.Join(dir, "two"), file("{"+both+"}", 1, 2), 0o644))
				c.text = `{"weight_map":{"a":"two"}}`
			}
			_, err := read(c.text)
			require.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, "checkpoint: "+index)
			assert.NotContains(t, err.Error(), "\n")
			mustHold(t, len(c.text), func() (*checkpoint.File, error) { return checkpoint.Open(index) })
		})
	}
	_, err = checkpoint.Parse("index.json", []byte(`{"weight_map":{"a":"one"}}`))
	assert.ErrorContains(t, err, "the index of a checkpoint in several files")
	_, err = checkpoint.Parse("model.safetensors", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"))
	assert.ErrorContains(t, err, "git lfs pull")
}
