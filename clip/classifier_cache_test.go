package clip

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestClassifierCache finds the same classifier in the cache, and none where anything differs that its rows depend on.
func TestClassifierCache(t *testing.T) {
	m, ctx := shippedModel(t), t.Context()
	var told []string
	cache := ClassifierCache{Dir: filepath.Join(t.TempDir(), "deep", "classifiers"), Log: func(message string) { told = append(told, message) }}
	files := func() []string {
		list, err := filepath.Glob(filepath.Join(cache.Dir, "*"))
		require.NoError(t, err)
		return list
	}
	names, templates := []string{"dog", "fast car"}, []string{"{}", "a picture of a {}"}
	want, err := m.Classifier(ctx, names, templates...)
	require.NoError(t, err)
	get := func(m *Model, names, templates []string) (*Classifier, bool) {
		t.Helper()
		z, cached, err := cache.Classifier(ctx, m, names, templates)
		require.NoError(t, err)
		return z, cached
	}
	for _, wantCached := range []bool{false, true} {
		z, cached := get(m, names, templates)
		assert.Equal(t, wantCached, cached)
		assert.Equal(t, want, z)
	}
	require.Len(t, files(), 1)
	file := files()[0]
	_, cached := get(shippedModel(t), names, templates)
	assert.True(t, cached, "the same weights, read again")

	t.Run("what is in the file counts", func(t *testing.T) {
		key := filepath.Base(file[:len(file)-len(".safetensors")])
		marked := &Classifier{Names: names, Weights: m.rowsOf(make([]float32, len(want.Weights)*m.Dim()))}
		marked.Weights[0][3] = 0.25
		require.NoError(t, writeClassifier(file, key, marked, m.Config.EmbedDim))
		z, cached := get(m, names, templates)
		assert.True(t, cached)
		assert.Equal(t, marked.Weights, z.Weights)
		assert.Equal(t, want.Scale, z.Scale)
		require.NoError(t, os.Remove(file))
	})

	t.Run("other prompts", func(t *testing.T) {
		for _, c := range []struct{ names, templates []string }{
			{[]string{"fast car", "dog"}, templates}, {names, []string{"a picture of a {}", "{}"}}, {names, templates[:1]},
			{[]string{"dog", "fast", "car"}, templates}, {[]string{"dog\n8 fast car"}, templates},
		} {
			z, cached := get(m, c.names, c.templates)
			assert.False(t, cached)
			direct, err := m.Classifier(ctx, c.names, c.templates...)
			require.NoError(t, err)
			assert.Equal(t, direct, z)
		}
	})

	t.Run("other weights", func(t *testing.T) {
		get(m, names, templates)
		other := shippedModel(t)
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			for name, p := range other.Parameters() {
				if name == "text_projection" {
					s.Alias(p).CopyFrom(s.Alias(p).MulScalar(-1))
				}
			}
		}))
		z, cached := get(other, names, templates)
		assert.False(t, cached)
		assert.NotEqual(t, want.Weights, z.Weights)
		other = shippedModel(t)
		other.Config = other.Config.Clone()
		other.Config.Text.ContextLength--
		assert.NotEqual(t, key(t, m, names, templates), key(t, other, names, templates), "a config that cuts sooner")
	})

	t.Run("damage", func(t *testing.T) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		for name, bad := range map[string][]byte{"empty": {}, "cut": data[:len(data)/2], "one bit": flip(data, len(data)-5),
			"header": flip(data, 12), "another's": nil} {
			if bad == nil {
				for _, other := range files() {
					if other != file {
						bad, err = os.ReadFile(other)
						require.NoError(t, err)
					}
				}
			}
			require.NoError(t, os.WriteFile(file, bad, 0o644))
			told = nil
			z, cached := get(m, names, templates)
			assert.False(t, cached, name)
			assert.Equal(t, want, z)
			require.Len(t, told, 1, name)
			assert.Contains(t, told[0], file)
			assert.Contains(t, told[0], "is rebuilt")
			_, cached = get(m, names, templates)
			assert.True(t, cached, "%s: the file is whole again", name)
		}
	})

	t.Run("no place", func(t *testing.T) {
		told = nil
		blocked := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(blocked, nil, 0o644))
		z, cached, err := ClassifierCache{Dir: blocked, Log: cache.Log}.Classifier(ctx, m, names, templates)
		require.NoError(t, err)
		assert.False(t, cached)
		assert.Equal(t, want, z)
		require.NotEmpty(t, told)
		_, cached, err = ClassifierCache{}.Classifier(ctx, m, names, templates)
		require.NoError(t, err)
		assert.False(t, cached)
	})

	ended, end := context.WithCancel(ctx)
	end()
	_, _, err = cache.Classifier(ended, m, names, templates)
	assert.ErrorIs(t, err, context.Canceled)
	_, _, err = cache.Classifier(ctx, m, nil, templates)
	assert.ErrorContains(t, err, "needs the name of a class")
	assert.False(t, slices.ContainsFunc(files(), func(name string) bool { return filepath.Ext(name) != ".safetensors" }), "nothing half-written is left")
}

func key(t *testing.T, m *Model, names, templates []string) string {
	t.Helper()
	k, err := m.promptsKey(t.Context(), names, templates)
	require.NoError(t, err)
	return k
}

func flip(data []byte, at int) []byte {
	out := slices.Clone(data)
	out[at] ^= 4
	return out
}

// TestClassifierCacheLeavesNothing counts handles over a miss, a hit and damage.
func TestClassifierCacheLeavesNothing(t *testing.T) {
	m := shippedModel(t)
	cache := ClassifierCache{Dir: t.TempDir()}
	_, err := m.EncodeTexts(t.Context(), "a dog")
	require.NoError(t, err)
	before := settled.Count(torch.LiveTensors)
	for range 3 {
		_, _, err := cache.Classifier(t.Context(), m, []string{"dog"}, []string{"{}"})
		require.NoError(t, err)
	}
	assert.Equal(t, before, torch.LiveTensors())
}

func TestConfusion(t *testing.T) {
	c := NewConfusion(4)
	predictions := func(classes ...int) (out []Prediction) {
		for _, class := range classes {
			out = append(out, Prediction{Class: class})
		}
		return out
	}
	assert.Zero(t, c.Top1()+c.Top5()+c.MeanPerClass())
	c.Add(0, predictions(0, 1, 2, 3))
	c.Add(0, predictions(1, 0, 2, 3))
	c.Add(0, predictions(1, 2, 3))
	c.Add(2, predictions(2, 1, 0, 3))
	assert.Equal(t, 4, c.N)
	assert.InDelta(t, 0.5, c.Top1(), 1e-12)
	assert.InDelta(t, 0.75, c.Top5(), 1e-12)
	assert.InDelta(t, (1.0/3+1)/2, c.MeanPerClass(), 1e-12, "classes without images do not count")
	var counts [][3]int
	for pair, n := range c.Counts() {
		counts = append(counts, [3]int{pair[0], pair[1], n})
	}
	assert.Equal(t, [][3]int{{0, 0, 1}, {0, 1, 2}, {2, 2, 1}}, counts)
}
