package clip

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// savedModel is the directory of a model whose float32 weights Open leaves in their file, and that
// file, written an hour ago.
func savedModel(t *testing.T) (dir, weights string) {
	t.Helper()
	dir = t.TempDir()
	m := goldenModel(t, golden.Config(t, "tiny"))
	require.NoError(t, m.Save(dir))
	weights = WeightsIn(dir)
	hourAgo := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(weights, hourAgo, hourAgo))
	return dir, weights
}

// TestChangedWeights writes into the file that an open model's weights are in, and cuts it: the next
// batch is an error that names it, and not other numbers or the end of the process. A file renamed
// over it is nobody's trouble.
func TestChangedWeights(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(path string) error
		says   string // "" if the model continues
	}{
		{"emptied", func(path string) error { return os.Truncate(path, 0) }, "bytes and has 0"},
		{"cut", func(path string) error { return os.Truncate(path, 8192) }, "bytes and has 8192"},
		{"other numbers", func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return err
			}
			_, err = f.WriteAt(make([]byte, info.Size()/2), info.Size()/2)
			return err
		}, "something was written into it"},
		{"another file in its place", func(path string) error {
			if err := os.WriteFile(path+".new", []byte("other weights"), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, weights := savedModel(t)
			m, err := Open(t.Context(), dir, nil)
			require.NoError(t, err)
			require.NotEmpty(t, m.lent, "the weights stay in the file")
			tokens := make([]int64, 2*m.ContextLength())
			for i := range tokens {
				tokens[i] = int64(1 + i%(m.Config.Text.VocabSize-1))
			}
			want, err := m.TextFeatures(tokens, 2)
			require.NoError(t, err)
			require.NoError(t, m.CheckWeights())
			require.NoError(t, c.change(weights))
			got, err := m.TextFeatures(tokens, 2)
			if c.says == "" {
				require.NoError(t, err)
				assert.Equal(t, want, got)
				assert.NoError(t, m.CheckWeights())
				return
			}
			require.ErrorIs(t, err, checkpoint.ErrChanged)
			assert.ErrorContains(t, err, weights)
			assert.ErrorContains(t, err, c.says)
			assert.Equal(t, err, m.CheckWeights())
			size := m.Config.Vision.ImageSize
			_, err = m.ImageFeatures(make([]float32, 3*size.Height*size.Width), 1)
			assert.ErrorIs(t, err, checkpoint.ErrChanged)
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) { // pages that are gone read as zeros
				for _, p := range m.Parameters() {
					s.Alias(p).Sum().Item()
				}
			}))
		})
	}
}

// TestSumsOnOpen opens a checkpoint of which a training run left the sums.
func TestSumsOnOpen(t *testing.T) {
	dir, weights := savedModel(t)
	data, err := os.ReadFile(weights)
	require.NoError(t, err)
	sum := disk.NewCRC()
	sum.Write(data)
	state := filepath.Join(dir, filepath.FromSlash(disk.StateFile))
	require.NoError(t, os.Mkdir(filepath.Dir(state), 0o700))
	require.NoError(t, os.WriteFile(state, fmt.Appendf(nil, `{"files": {%q: {"size": %d, "crc32c": "%08x"}}}`, filepath.Base(weights), len(data), sum.Sum32()), 0o600))
	_, err = Open(t.Context(), dir, nil)
	require.NoError(t, err)
	data[len(data)-1] ^= 1
	require.NoError(t, os.WriteFile(weights, data, 0o600))
	_, err = Open(t.Context(), dir, nil)
	assert.ErrorContains(t, err, weights+" is damaged: ")
	_, err = Open(t.Context(), dir, &OpenOptions{Copy: true})
	assert.ErrorContains(t, err, " is damaged: ")
}

// TestSaveOfChangedWeights: weights whose file was cut are not written as zeros; a Load that failed, or
// that wrote into the mapped file's pages, does not end the watch.
func TestSaveOfChangedWeights(t *testing.T) {
	for name, load := range map[string]func(t *testing.T, m *Model, dir string){
		"opened": func(*testing.T, *Model, string) {},
		"another model's weights": func(t *testing.T, m *Model, _ string) {
			require.Error(t, m.Load(WeightsIn(t.TempDir())))
			other := t.TempDir()
			c := golden.Config(t, "tiny")
			c.Text.Layers++
			deeper, err := New(c, 1)
			require.NoError(t, err)
			require.NoError(t, deeper.Save(other))
			require.ErrorContains(t, m.Load(other), "does not fit the model")
		},
		"loaded into": func(t *testing.T, m *Model, dir string) { require.NoError(t, m.Load(dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, weights := savedModel(t)
			m, err := Open(t.Context(), dir, nil)
			require.NoError(t, err)
			load(t, m, dir)
			whole := t.TempDir()
			require.NoError(t, m.Save(whole))
			require.NoError(t, m.Save(dir), "over the file that it is in")
			require.NoError(t, m.CheckWeights())
			m, err = Open(t.Context(), dir, nil)
			require.NoError(t, err)
			load(t, m, dir)
			require.NoError(t, os.Truncate(weights, 8192))
			for _, o := range []*SaveOptions{nil, {HuggingFace: true}} {
				out := filepath.Join(t.TempDir(), "out")
				assert.ErrorIs(t, m.SaveAs(out, o), checkpoint.ErrChanged)
				assert.NoDirExists(t, out)
			}
			mixed, err := Open(t.Context(), whole, &OpenOptions{Copy: true})
			require.NoError(t, err)
			assert.ErrorIs(t, mixed.Interpolate(m, 0.5), checkpoint.ErrChanged)
		})
	}
}

// TestSaveAsFloat16 refuses weights that would be written as infinity, and types that hold no weights.
func TestSaveAsFloat16(t *testing.T) {
	m := goldenModel(t, golden.Config(t, "tiny"))
	for _, o := range []SaveOptions{{DType: torch.Float16}, {DType: torch.Float16, HuggingFace: true}} {
		require.NoError(t, m.SaveAs(t.TempDir(), &o))
	}
	for key, p := range m.Parameters() {
		if key == "visual.proj" {
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) { s.Alias(p).Fill(70_000) }))
		}
	}
	require.NoError(t, m.Save(t.TempDir()))
	for _, o := range []SaveOptions{{DType: torch.Float16}, {DType: torch.Float16, HuggingFace: true}} {
		dir := filepath.Join(t.TempDir(), "half")
		assert.EqualError(t, m.SaveAs(dir, &o), "clip: visual.proj has numbers beyond 65,504, which float16 cannot hold: write float32")
		assert.NoDirExists(t, dir)
	}
	assert.ErrorContains(t, m.SaveAs(t.TempDir(), &SaveOptions{DType: torch.Int64}), "clip: weights are not written in int64")
}

// TestQuantizedWeights refuses the integers of a quantized weight, whose scale is elsewhere.
func TestQuantizedWeights(t *testing.T) {
	dir, weights := savedModel(t)
	f, err := checkpoint.Open(weights)
	require.NoError(t, err)
	var entries []checkpoint.Entry
	for _, name := range f.Names() {
		e, _ := f.Entry(name)
		if e.Data = bytes.Clone(e.Data); name == "visual.proj" {
			e.DType, e.Data = checkpoint.I8, make([]byte, len(e.Data)/4)
		}
		entries = append(entries, e)
	}
	require.NoError(t, f.Close())
	require.NoError(t, checkpoint.Write(weights, entries, nil))
	_, err = Open(t.Context(), dir, nil)
	assert.ErrorContains(t, err, "visual.proj holds numbers of the type I8, as a quantized model does; weights must be float32")
}
