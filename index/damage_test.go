package index

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
)

func edit(t testing.TB, path string, change func(data []byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, change(data), 0o644))
}

// TestDamage gives one fault each: an error of one sentence that matches its sentinel, from
// searching or from opening.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name, file string
		change     func(data []byte) []byte
		says       string
		kind       error
	}{
		{"cut vectors", "vectors-1.f32", func(d []byte) []byte { return d[:len(d)-1] }, "20 images take 1984 bytes and it has 1983", ErrDamaged},
		{"no header", "vectors-1.f32", func(d []byte) []byte { return d[:10] }, "does not begin as a file of vectors", ErrDamaged},
		{"other vectors", "vectors-1.f32", func(d []byte) []byte { d[16]++; return d }, "does not begin as a file of vectors of 24 numbers", ErrDamaged},
		{"a bit", "vectors-1.f32", func(d []byte) []byte { d[headerSize+4*dim*7]++; return d }, "the vector of 7.png has changed", ErrDamaged},
		{"NaN", "vectors-1.f32", func(d []byte) []byte { copy(d[headerSize+4*dim*3:], "\xff\xff\xff\x7f"); return d }, "the vector of 3.png has changed", ErrDamaged},
		{"no vectors", "vectors-1.f32", nil, "there is no such file", ErrDamaged},
		{"no database", databaseName, func([]byte) []byte { return []byte(strings.Repeat("not a database ", 100)) }, "the index is damaged", ErrDamaged},
		{"cut database", databaseName, func(d []byte) []byte { return d[:len(d)/2] }, "the index is damaged", ErrDamaged},
		{"empty database", databaseName, func(d []byte) []byte { return nil }, "nothing was ever indexed", fs.ErrNotExist},
		{"a newer goclip's", databaseName, func(d []byte) []byte { d[63] = 9; return d }, "version 9", ErrVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			at := filled(t, dir, 20)
			if c.change == nil {
				require.NoError(t, os.Remove(filepath.Join(at, c.file)))
			} else {
				edit(t, filepath.Join(at, c.file), c.change)
			}
			err := searchAll(at)
			require.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "\n")
			assert.ErrorIs(t, err, c.kind)
			require.NoError(t, Destroy(at))
			filled(t, dir, 2)
			require.NoError(t, searchAll(at))
		})
	}
}

func searchAll(at string) error {
	ix, err := Open(at)
	if err != nil {
		return err
	}
	defer ix.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for n := range 20 {
		if _, err := ix.Search(ctx, vector(n), 20, Filter{MinSize: int64(n % 2)}); err != nil {
			return err
		}
	}
	if _, err := ix.Duplicates(ctx, 0.99, Filter{}); err != nil {
		return err
	}
	return ix.Verify(ctx)
}

// FuzzOpen has any change of any file of an index give an error of one line, or right answers, and
// no panic.
func FuzzOpen(of *testing.F) {
	f := campaign.Inputs(of, 0)
	dir := f.MemoryDir()
	at := filled(f, dir, 20)
	whole := map[string][]byte{}
	for _, name := range []string{databaseName, "vectors-1.f32"} {
		data, err := os.ReadFile(filepath.Join(at, name))
		require.NoError(f, err)
		whole[name] = data
	}
	f.Add(true, 0, []byte("SQLite"), 0)
	f.Add(true, 100, []byte{13, 0, 0, 0}, 0)
	f.Add(true, 4096*3, []byte{0, 255, 255}, 0)
	f.Add(true, 0, []byte{}, 4096)
	f.Add(false, 16, []byte{1}, 0)
	f.Add(false, headerSize, []byte{255, 255, 255, 127}, 7)
	f.Fuzz(func(t *testing.T, database bool, from int, with []byte, cut int) {
		copied := filepath.Join(dir, "copy", DirName)
		require.NoError(t, os.RemoveAll(copied)) // with what SQLite has left beside it
		require.NoError(t, os.MkdirAll(copied, 0o755))
		for name, data := range whole {
			if database == (name == databaseName) {
				data = append([]byte(nil), data...)
				if from >= 0 && from < len(data) {
					copy(data[from:], with)
				}
				if cut > 0 && cut < len(data) {
					data = data[:len(data)-cut]
				}
			}
			require.NoError(t, os.WriteFile(filepath.Join(copied, name), data, 0o644))
		}
		if err := searchAll(copied); err != nil {
			assert.NotContains(t, err.Error(), "\n")
		}
		if w, err := OpenWriter(copied, model); err == nil {
			if err := w.Add(imageFile(dir, 3), vector(3)); err == nil {
				_ = w.Commit()
			}
			assert.NoError(t, w.Close())
		} else {
			assert.NotContains(t, err.Error(), "\n")
		}
	})
}
