package data_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

// TestNotRegular waits for no FIFO and reads no device, as a source, as a row, as a caption or as a
// class.
func TestNotRegular(t *testing.T) {
	dir := tree(t, map[string][]byte{"a.png": greyPNG(t, 1), "pairs/a.png": greyPNG(t, 1), "pairs/b.png": nil, "pairs/b.txt": []byte("b"),
		"classes/cat/a.png": nil, "classes/dog/a.png": nil,
		"rows.tsv": []byte("filepath\ttitle\na.png\tgood\nfifo\tno\n/dev/zero\tno\n/proc/self/status\tno\n.\tno\n")})
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pairs", "a.txt"), 0o600))
	require.NoError(t, os.Symlink("/nowhere", filepath.Join(dir, "classes", "old")))
	for _, kind := range []string{"csv", "jsonl", "parquet", "webdataset"} {
		for _, path := range []string{fifo, "/dev/zero", dir} {
			_, err := open(t, path, data.Options{Kind: kind})
			assert.ErrorIs(t, err, preprocess.ErrNotRegular, "%s %s", kind, path)
			assert.ErrorContains(t, err, "data: open "+path+": not a regular file")
		}
		_, err := open(t, "/proc/self/status", data.Options{Kind: kind})
		assert.ErrorContains(t, err, "data: /proc/self/status", "%s: a file of no length is empty", kind)
	}

	set, err := open(t, filepath.Join(dir, "rows.tsv"), columns)
	require.NoError(t, err)
	loader, err := data.NewLoader(set, &data.LoaderOptions{BatchSize: 5, SkipBad: true, Pixels: 2, Transform: jittered})
	require.NoError(t, err)
	for b, err := range loader.Epoch(t.Context(), 0, 0) {
		require.NoError(t, err)
		assert.Equal(t, []int{0}, b.Samples)
	}
	said := map[string]string{}
	for _, b := range loader.Bad() {
		said[b.Key] = b.Err.Error()
	}
	assert.Equal(t, map[string]string{
		"fifo":              "preprocess: " + fifo + ": not a regular file, so no image is read from it",
		"/dev/zero":         "preprocess: /dev/zero: not a regular file, so no image is read from it",
		"/proc/self/status": "preprocess: the file is empty; it should hold an image",
		".":                 "preprocess: .: a directory, not an image",
	}, said)

	set, err = open(t, filepath.Join(dir, "pairs"), columns)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1}, []int{set.Len(), set.LeftOut()}, "one has a caption, one a FIFO")
	folders, err := data.OpenFolders(t.Context(), filepath.Join(dir, "classes"))
	require.NoError(t, err)
	assert.Equal(t, []string{"cat", "dog"}, folders.Classes())
}

// endsAfter is a context that has ended when it was looked at so many times.
type endsAfter struct {
	context.Context
	looks int
}

func (e *endsAfter) Err() error {
	if e.looks--; e.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestOpenStopped ends what reads data, wherever it is, with the context's error.
func TestOpenStopped(t *testing.T) {
	var members []member
	var rows, lines strings.Builder
	rows.WriteString("filepath\ttitle\n")
	files := map[string][]byte{}
	for i := range 3000 {
		name := "p/" + strings.Repeat("x", i%50) + ".png"
		rows.WriteString(name + "\tx\n")
		lines.WriteString(`{"path": "` + name + `", "text": "x"}` + "\n")
	}
	for i := range 30 {
		name := string(rune('a'+i%26)) + strings.Repeat("x", i)
		members = append(members, member{name + ".png", "picture"}, member{name + ".txt", "text"})
		files["pairs/"+name+".png"], files["pairs/"+name+".txt"] = nil, nil
		files["classes/one/"+name+".png"], files["classes/two/"+name+".png"] = nil, nil
	}
	archive := tarOf(t, members...)
	files["t.tsv"], files["l.jsonl"], files["s.tar"], files["s.tgz"], files["s.tar.zst"] = []byte(rows.String()), []byte(lines.String()), archive, gzipped(t, archive), zstandard(t, archive)
	files["t.parquet"] = captionTable(t, &parquet.Zstd, &parquet.Plain, 2, strings.Split(strings.Repeat("x ", 3000), " "))
	dir := tree(t, files)
	for _, name := range []string{"t.tsv", "l.jsonl", "t.parquet", "pairs", "classes"} {
		o := &data.Options{Cache: filepath.Join(dir, "cache")}
		looks := 0
		for ; ; looks++ {
			set, err := data.Open(&endsAfter{context.Background(), looks}, filepath.Join(dir, name), o)
			if err == nil {
				assert.Positive(t, set.Len())
				break
			}
			require.ErrorIs(t, err, context.Canceled, "%s, after %d looks", name, looks)
			require.NotContains(t, err.Error(), "damaged")
		}
		assert.Greater(t, looks, 1, name)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range []string{"s.tar", "s.tgz", "s.tar.zst"} { // which several goroutines read
		_, err := data.Open(ended, filepath.Join(dir, name), &data.Options{Cache: filepath.Join(dir, "cache")})
		require.ErrorIs(t, err, context.Canceled, name)
		require.NotContains(t, err.Error(), "damaged")
	}
	left, err := os.ReadDir(filepath.Join(dir, "cache"))
	require.NoError(t, err)
	assert.Empty(t, left, "nothing half-unpacked stays")
	set, err := open(t, filepath.Join(dir, "t.tsv"), columns)
	require.NoError(t, err)
	_, err = data.Fingerprint(&endsAfter{context.Background(), 0}, set)
	assert.ErrorIs(t, err, context.Canceled)
}
