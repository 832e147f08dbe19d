package checkpoint_test

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

const goldenDir = "../../testdata/checkpoint"

// golden is what testdata/checkpoint/make_goldens.py says of a file.
type golden struct {
	Names   []string `json:"names"`
	Tensors map[string]struct {
		DType checkpoint.DType `json:"dtype"`
		Shape []int            `json:"shape"`
		Data  string           `json:"data"`
	} `json:"tensors"`
	Metadata map[string]string `json:"metadata"`
}

func readGoldens(t *testing.T) map[string]golden {
	text, err := os.ReadFile(filepath.Join(goldenDir, "goldens.json"))
	require.NoError(t, err)
	var goldens map[string]golden
	require.NoError(t, json.Unmarshal(text, &goldens))
	return goldens
}

func (g golden) check(t *testing.T, f *checkpoint.File) {
	assert.Equal(t, g.Names, f.Names())
	metadata := f.Metadata()
	maps.DeleteFunc(metadata, func(_, v string) bool { return v == "" })
	assert.Equal(t, g.Metadata, metadata)
	for name, want := range g.Tensors {
		e, ok := f.Entry(name)
		if assert.True(t, ok, name) {
			assert.Equal(t, name, e.Name)
			assert.Equal(t, want.DType, e.DType, name)
			assert.Equal(t, want.Shape, e.Shape, name)
			assert.Equal(t, want.Data, hex.EncodeToString(e.Data), name)
		}
	}
}

// TestGoldens compares every file that PyTorch wrote, bit for bit, under a name that says nothing of its format.
func TestGoldens(t *testing.T) {
	goldens := readGoldens(t)
	require.Greater(t, len(goldens), 18)
	for _, file := range slices.Sorted(maps.Keys(goldens)) {
		t.Run(file, func(t *testing.T) {
			path := filepath.Join(goldenDir, file)
			if filepath.Ext(file) == ".pt" {
				path = copyTo(t, path, "weights.safetensors")
			}
			f, err := checkpoint.Open(path)
			require.NoError(t, err)
			goldens[file].check(t, f)
			e, _ := f.Entry(f.Names()[0])
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
				assert.Equal(t, e.Data, torch.ToBytes(e.Tensor(s)))
			}))
			require.NoError(t, f.Close())
			require.NoError(t, f.Close(), "twice is once")
			assert.Empty(t, f.Names())
		})
	}
}

// TestNoCopy checks that tensors in row-major order are part of the file's bytes, and that views share them.
func TestNoCopy(t *testing.T) {
	for _, file := range []string{"views.pt", "views-legacy.pt"} {
		data, err := os.ReadFile(filepath.Join(goldenDir, file))
		require.NoError(t, err)
		f, err := checkpoint.Parse(file, data)
		require.NoError(t, err)
		whole, _ := f.Entry("whole")
		rows, _ := f.Entry("rows")
		turned, _ := f.Entry("t")
		was := rows.Data[0]
		whole.Data[6*4] = ^was
		assert.Equal(t, ^was, rows.Data[0], "rows begins with the second row of 6 floats")
		for i := range data {
			data[i] = 0
		}
		assert.Equal(t, make([]byte, len(whole.Data)), whole.Data)
		assert.NotEqual(t, make([]byte, len(turned.Data)), turned.Data, "a transposed tensor is a copy")
	}
}

func copyTo(t *testing.T, from, name string) string {
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}
