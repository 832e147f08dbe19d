package data_test

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

var benchmarks = filepath.Join("..", "..", "testdata", "evaluate")

// TestOpenBenchmark reads what CLIP_benchmark's exporter wrote (testdata/evaluate/make_goldens.py).
func TestOpenBenchmark(t *testing.T) {
	dir := filepath.Join(benchmarks, "classes")
	assert.True(t, data.IsBenchmark(dir, "test"))
	assert.True(t, data.IsBenchmark(dir, "val"), "whatever its splits are")
	assert.False(t, data.IsBenchmark(benchmarks, "test"))
	_, err := data.OpenBenchmark(t.Context(), dir, "val", nil)
	assert.ErrorContains(t, err, "val/nshards.txt: no such file")
	counts := map[string]int{"train": 64, "test": 32}
	for split, n := range counts {
		b, err := data.OpenBenchmark(t.Context(), dir, split, nil)
		require.NoError(t, err)
		assert.Equal(t, n, b.Len())
		assert.True(t, b.Labelled())
		assert.Equal(t, []string{"telescope", "lipstick", "thinking face"}, b.Classes()[:3])
		assert.Equal(t, []string{"a drawing of a {}.", "{}", "an emoji of the {}."}, b.Templates)
		seen := map[int]bool{}
		for i := range n {
			seen[b.Class(i)] = true
			s, err := b.Sample(t.Context(), i)
			require.NoError(t, err)
			assert.Equal(t, []string{b.Classes()[b.Class(i)]}, s.Texts)
			assert.Equal(t, s.Texts, b.Captions(i))
			assert.Equal(t, s.Texts[0], s.Class)
		}
		assert.Len(t, seen, 8)
		s, err := b.Sample(t.Context(), 0)
		require.NoError(t, err)
		image, err := s.Image.Decode(t.Context(), preprocess.DefaultLimits)
		require.NoError(t, err)
		assert.Equal(t, 32, image.Width)
	}
	b, err := data.OpenBenchmark(t.Context(), filepath.Join(benchmarks, "captions"), "test", nil)
	require.NoError(t, err)
	assert.False(t, b.Labelled())
	assert.Equal(t, 30, b.Len())
	assert.Equal(t, []string{"grinning face"}, b.Captions(0))
	assert.Len(t, b.Captions(2), 3)
}

// benchmarkOf writes a split of one shard whose members have these endings and contents.
func benchmarkOf(t *testing.T, files map[string]string, label, content string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "test"), 0o755))
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	f, err := os.Create(filepath.Join(dir, "test", "0.tar"))
	require.NoError(t, err)
	w := tar.NewWriter(f)
	for _, m := range [][2]string{{"s0.png", "not looked at"}, {"s0." + label, content}} {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: m[0], Size: int64(len(m[1])), Mode: 0o644, Typeflag: tar.TypeReg}))
		_, err := w.Write([]byte(m[1]))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
	return dir
}

// TestBenchmarkCaptions splits lines as Python does: an empty one in the middle is a caption.
func TestBenchmarkCaptions(t *testing.T) {
	for text, want := range map[string][]string{
		"a\nb": {"a", "b"}, "a\r\nb\n": {"a", "b"}, "a\n\nb": {"a", "", "b"}, "a": {"a"}, "x\u2028y\x0cz\r": {"x", "y", "z"},
	} {
		b, err := data.OpenBenchmark(t.Context(), benchmarkOf(t, map[string]string{"test/nshards.txt": "1\n", "dataset_type.txt": "Retrieval\n"}, "txt", text), "test", nil)
		require.NoError(t, err)
		assert.Equal(t, want, b.Captions(0), "%q", text)
	}
}

func TestBenchmarkRefusals(t *testing.T) {
	shards, names := map[string]string{"test/nshards.txt": "1"}, "classnames.txt"
	with := func(more ...string) map[string]string {
		files := map[string]string{}
		for k, v := range shards {
			files[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = more[i+1]
		}
		return files
	}
	for want, c := range map[string]struct {
		files       map[string]string
		ext, member string
	}{
		"nshards.txt: no such file":                                  {nil, "cls", "0"},
		"nshards.txt must be the number of the split's":              {with("test/nshards.txt", "none"), "cls", "0"},
		"1.tar: no such file":                                        {with("test/nshards.txt", "2", names, "a\nb"), "cls", "0"},
		"classnames.txt: no such file":                               {with(), "cls", "0"},
		"classnames.txt: line 2 is empty":                            {with(names, "a\n\nb"), "cls", "0"},
		`0.tar:s0: the .cls is "2": it must be`:                      {with(names, "a\nb"), "cls", "2"},
		`the .cls is "dog"`:                                          {with(names, "a\nb"), "cls", "dog"},
		"line 1 has no {c} for the class's name":                     {with(names, "a\nb", "zeroshot_classification_templates.txt", "a photo"), "cls", "0"},
		"is of the type multilabel":                                  {with("dataset_type.txt", "multilabel"), "cls", "0"},
		"holds no sample; a sample is an image (.webp, .png, .jpg, ": {with(names, "a\nb"), "txt", "0"},
	} {
		_, err := data.OpenBenchmark(t.Context(), benchmarkOf(t, c.files, c.ext, c.member), "test", nil)
		assert.ErrorContains(t, err, want)
	}
}

func TestLabels(t *testing.T) {
	open := func(captions ...string) data.Index {
		rows := "filepath,title\n"
		for i, c := range captions {
			rows += fmt.Sprintf("%d.png,%s\n", i, c)
		}
		path := filepath.Join(t.TempDir(), "t.csv")
		require.NoError(t, os.WriteFile(path, []byte(strings.TrimSuffix(rows, "\n")), 0o644))
		set, err := data.Open(t.Context(), path, nil)
		require.NoError(t, err)
		return set.(data.Index)
	}
	for _, c := range []struct {
		captions, classes []string
		labels            []int
	}{
		{[]string{"dog", "cat", "dog"}, []string{"cat", "dog"}, []int{1, 0, 1}},
		{[]string{"10", "9", "9"}, []string{"9", "10"}, []int{1, 0, 0}},
	} {
		l, err := data.NewLabels(open(c.captions...))
		require.NoError(t, err)
		assert.Equal(t, c.classes, l.Classes())
		for i, label := range c.labels {
			assert.Equal(t, label, l.Class(i))
		}
	}
	_, err := data.NewLabels(open("dog", "dog"))
	assert.ErrorContains(t, err, "at least two classes")
}
