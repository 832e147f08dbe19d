package data_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/train/data"
)

// member is a file of an archive.
type member struct{ name, content string }

func tarOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.content)), Typeflag: tar.TypeReg}))
		_, err := w.Write([]byte(m.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zstandard(t testing.TB, content []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return w.EncodeAll(content, nil)
}

// sample is what a data set says of one.
type sample struct {
	key, image string
	captions   []string
}

func samples(t testing.TB, set data.Index, dir string) (out []sample) {
	t.Helper()
	for i := range set.Len() {
		b, err := fileOf(t, set, i)
		require.NoError(t, err)
		key := set.Key(i)
		if rel, err := filepath.Rel(dir, key); err == nil {
			key = rel
		}
		out = append(out, sample{key, string(b), set.Captions(i)})
	}
	return out
}

func TestShards(t *testing.T) {
	archive := tarOf(t, member{"a/1.jpg", "one"}, member{"a/1.txt", "first\nline\n\n"}, member{"a/1.json", `{"caption": ["x", 2, "z"], "no": {}}`},
		member{"a/2.seg.png", "no image"}, member{"a/2.png", "png"}, member{"a/2.JPG", "jpg"}, member{"a/2.txt", "second"}, member{"a/2.json", `{"caption": "y"}`},
		member{"a/3.jpg", "alone"}, member{"a/4.txt", "alone"}, member{"a/5.webp", "five"}, member{"a/5.cls", "7"}, member{"a/5.text", "fifth"}, member{"a/5.json", `broken`},
		member{"b.jpg", "same"}, member{"b.txt", "twice"}, member{"b.jpg", "key"}, member{"b.txt", "again"})
	for _, c := range []struct {
		name    string
		o       data.Options
		want    []sample
		leftOut int
	}{
		{"as open_clip", data.Options{}, []sample{{"s:a/1", "one", []string{"first\nline\n\n"}}, {"s:a/2", "jpg", []string{"second"}},
			{"s:b", "same", []string{"twice"}}, {"s:b", "key", []string{"again"}}}, 3},
		{"lines", data.Options{CaptionLines: true, TarImageKeys: "jpg"}, []sample{{"s:a/1", "one", []string{"first", "line"}}, {"s:a/2", "jpg", []string{"second"}},
			{"s:b", "same", []string{"twice"}}, {"s:b", "key", []string{"again"}}}, 2},
		{"keys", data.Options{TarImageKeys: "webp;png;jpg", TarTextKeys: "cls;text"}, []sample{{"s:a/5", "five", []string{"7"}}}, 5},
		{"json", data.Options{JSONTextKey: "caption"}, []sample{{"s:a/1", "one", []string{"x", "2", "z"}}, {"s:a/2", "jpg", []string{"y"}}}, 4},
		{"each", data.Options{JSONTextKey: "caption", CaptionEach: true}, []sample{{"s:a/1", "one", []string{"x"}}, {"s:a/1", "one", []string{"2"}},
			{"s:a/1", "one", []string{"z"}}, {"s:a/2", "jpg", []string{"y"}}}, 4},
		{"without captions", data.Options{Uncaptioned: true}, []sample{{"s:a/1", "one", []string{"first\nline\n\n"}}, {"s:a/2", "jpg", []string{"second"}},
			{"s:a/3", "alone", nil}, {"s:a/5", "five", nil}, {"s:b", "same", []string{"twice"}}, {"s:b", "key", []string{"again"}}}, 1},
	} {
		for ending, content := range map[string][]byte{"tar": archive, "tar.gz": gzipped(t, archive), "tar.zst": zstandard(t, archive), "tar.zst, in two frames": append(zstandard(t, archive[:900]), zstandard(t, archive[900:])...)} {
			t.Run(c.name+" "+ending, func(t *testing.T) {
				dir := tree(t, map[string][]byte{"s": content})
				c.o.Kind, c.o.Cache = "webdataset", filepath.Join(dir, "cache")
				set, err := open(t, filepath.Join(dir, "s"), c.o)
				require.NoError(t, err)
				assert.Equal(t, c.want, samples(t, set, dir))
				assert.Equal(t, c.leftOut, set.LeftOut())
			})
		}
	}
}

// TestUnpacked keeps what it unpacked for the next run, makes it again of a source that changed, and
// removes what is old.
func TestUnpacked(t *testing.T) {
	dir := tree(t, map[string][]byte{"s.tar.gz": gzipped(t, tarOf(t, member{"1.jpg", "old"}, member{"1.txt", "x"})), "cache/": nil})
	path, cache := filepath.Join(dir, "s.tar.gz"), filepath.Join(dir, "cache")
	old, half, others := filepath.Join(cache, "0123.tar"), filepath.Join(cache, ".unpacking-7"), filepath.Join(cache, "notes.txt")
	for _, name := range []string{old, half, others} {
		require.NoError(t, os.WriteFile(name, nil, 0o644))
		long := time.Now().Add(-40 * 24 * time.Hour)
		require.NoError(t, os.Chtimes(name, long, long))
	}
	open := func() (*data.Sources, string) {
		set, err := open(t, path, data.Options{Cache: cache})
		require.NoError(t, err)
		files, err := filepath.Glob(filepath.Join(cache, "*.tar"))
		require.NoError(t, err)
		return set, fmt.Sprint(files)
	}
	first, files := open()
	assert.NoFileExists(t, old)
	assert.NoFileExists(t, half)
	assert.FileExists(t, others)
	_, again := open()
	assert.Equal(t, files, again)
	require.NoError(t, os.WriteFile(path, gzipped(t, tarOf(t, member{"1.jpg", "newer"}, member{"1.txt", "x"})), 0o644))
	second, changed := open()
	assert.NotEqual(t, files, changed)
	assert.Equal(t, "newer", samples(t, second, dir)[0].image)
	require.NoError(t, os.RemoveAll(cache))
	assert.Equal(t, "old", samples(t, first, dir)[0].image, "a run keeps what it has open")
}

func TestHostileShards(t *testing.T) {
	whole := tarOf(t, member{"1.jpg", "picture"}, member{"1.txt", "x"}, member{"2.jpg", "another image"}, member{"2.txt", "y"})
	huge := bytes.Clone(whole)
	copy(huge[124:136], "77777777777\x00") // 8 GiB, and then the header's sum is wrong
	squeezed := gzipped(t, whole)
	wrong := bytes.Clone(squeezed)
	wrong[len(wrong)-5] ^= 1
	zeros := make([]byte, 24<<20)
	for _, c := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"cut.tar", whole[:1536], "cut.tar is damaged: 1.txt ends too early, at byte 1536"},
		{"cut-header.tar", whole[:2048+100], "cut-header.tar is damaged: after 2 members, at byte 2148: unexpected EOF"},
		{"huge.tar", huge, "huge.tar is damaged: after 0 members"},
		{"none.tar", tarOf(t, member{"1.jpg", "x"}), "none.tar holds no sample; a sample is an image (.jpg, .png, .jpeg, .webp, .gif, .bmp, .tif, .tiff) and a .txt of the same name"},
		{"empty.tar", nil, "empty.tar holds no sample"},
		{"text.tar", bytes.Repeat([]byte("no archive\n"), 100), "text.tar is damaged"},
		{"cut.tar.gz", squeezed[:len(squeezed)/2], "cut.tar.gz cannot be unpacked: it is damaged: it ends too early"},
		{"sum.tar.gz", wrong, "sum.tar.gz cannot be unpacked: it is damaged: gzip: invalid checksum"},
		{"cut.tar.zst", zstandard(t, whole)[:40], "cut.tar.zst cannot be unpacked"},
		{"bomb.tar.gz", gzipped(t, zeros), "bomb.tar.gz: it unpacks to more than 64 times its size"},
		{"bomb.tar.zst", zstandard(t, zeros), "bomb.tar.zst: it unpacks to more than 64 times its size"},
		{"wide.tar.zst", []byte("\x28\xb5\x2f\xfd\x00\xd0\x01\x00\x00"), "window size exceeded"}, // asks for a window of 64 GiB
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, map[string][]byte{c.name: c.content})
			_, err := open(t, filepath.Join(dir, c.name), data.Options{Cache: filepath.Join(dir, "cache")})
			assert.ErrorContains(t, err, c.want)
			left, _ := os.ReadDir(filepath.Join(dir, "cache"))
			assert.Empty(t, left, "nothing half-unpacked stays")
		})
	}
	_, err := open(t, filepath.Join(tree(t, map[string][]byte{"a.tgz": squeezed}), "a.tgz"), data.Options{})
	assert.ErrorContains(t, err, "has to be unpacked and there is no directory for it; set Cache")
}

// TestManyShards: of compressed shards at most maxHeld files stay open, and none where one of them is bad.
func TestManyShards(t *testing.T) {
	const shards = 300
	opened := func() int {
		return int(settled.Count(func() int64 {
			list, err := os.ReadDir("/proc/self/fd")
			require.NoError(t, err)
			return int64(len(list))
		}))
	}
	content := map[string][]byte{}
	for i := range shards {
		content[fmt.Sprintf("%03d.tar.gz", i)] = gzipped(t, tarOf(t, member{"1.jpg", fmt.Sprint("image ", i)}, member{"1.txt", "x"}))
	}
	dir := tree(t, content)
	o := data.Options{Cache: filepath.Join(dir, "cache")}
	before := opened()
	for range 2 { // unpacked now, and before
		set, err := open(t, filepath.Join(dir, "*.tar.gz"), o)
		require.NoError(t, err)
		assert.Equal(t, 256, opened()-before)
		list := samples(t, set, dir)
		require.Len(t, list, shards)
		assert.Equal(t, "image 299", list[299].image)
		assert.Equal(t, 256, opened()-before)
		runtime.KeepAlive(set)
		set = nil
		assert.Equal(t, before, opened())
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "299.tar.gz"), gzipped(t, []byte("no archive, not at all")), 0o644))
	debug.SetGCPercent(-1)
	defer debug.SetGCPercent(100)
	list, _ := os.ReadDir("/proc/self/fd")
	_, err := open(t, filepath.Join(dir, "*.tar.gz"), o)
	require.ErrorContains(t, err, "299.tar.gz")
	after, _ := os.ReadDir("/proc/self/fd")
	assert.Len(t, after, len(list))
}
