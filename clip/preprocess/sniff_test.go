package preprocess

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const lfsPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n" +
	"size 12345\n"

func TestKindOf(t *testing.T) {
	heic := Kind{"HEIC", "HEIC", HasHEIF()}
	for _, c := range []struct {
		head, file string
		want       Kind
	}{
		{"\x89PNG\r\n\x1a\n", "x.jpg", Kind{"image", "PNG", true}},
		{"II*\x00\x08\x00\x00\x00", "x.tif", Kind{"image", "TIFF", true}},
		{"II*\x00\x08\x00\x00\x00", "x.NEF", Kind{"RAW", "camera RAW (NEF)", true}},
		{"II*\x00\x10\x00\x00\x00CR\x02\x00", "", Kind{"RAW", "camera RAW (CR2)", true}},
		{"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom", "", Kind{"RAW", "camera RAW (CR3)", false}},
		{"FUJIFILMCCD-RAW 0201", "", Kind{"RAW", "camera RAW (RAF)", true}},
		{"\x00\x00\x00\x1cftypisom\x00\x00\x00\x00isomiso2", "", Kind{"video", "video (MP4)", false}},
		{"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ", "", Kind{"video", "video (QuickTime)", false}},
		{"\x1a\x45\xdf\xa3 and so on", "", Kind{"video", "video (Matroska)", false}},
		{"RIFF\x04\x00\x00\x00AVI LIST", "", Kind{"video", "video (AVI)", false}},
		{"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "", heic},
		{"%PDF-1.7", "x.png", Kind{"PDF", "PDF", false}},
		{"\x00\x00\x01\x00\x01", "", Kind{"icon", "icon (ICO)", false}},
		{lfsPointer, "dog.jpg", Kind{"Git LFS pointer", "Git LFS pointer", false}},
		{"<!doctype html><p>gone", "dog.jpg", Kind{"HTML page", "HTML page", false}},
		{"a list of things to buy", "notes.png", Kind{"text", "text", false}},
		{"", "x.png", Kind{"empty", "empty", false}},
		{"\x01\x02\x03\x00\x05\x06\x07\x08\x09\x0a\x0b\x0c\xff", "x.png", Kind{}},
		{"\x01\x02\x03\x00\x05\x06\x07\x08\x09\x0a\x0b\x0c\xff", "x.mov", Kind{"video", "video (QuickTime)", false}},
	} {
		assert.Equal(t, c.want, KindOf([]byte(c.head), c.file), "%q named %q", c.head, c.file)
	}
	for name, want := range map[string]Kind{
		"a/b.JPEG": {"image", "JPEG", true}, "x.webp": {"image", "WebP", true}, "x.dng": {"RAW", "camera RAW (DNG)", true},
		"x.heif": heic, "x.txt": {}, "": {},
	} {
		assert.Equal(t, want, KindOf(nil, name), name)
	}
}

// What Decode reads is an image, and what it refuses is none.
func TestKindOfIsWhatDecodeReads(t *testing.T) {
	for _, f := range loadGoldens(t).Files {
		k := KindOf(readGolden(t, "pictures/"+f.File), f.File)
		assert.Equal(t, "image", k.Name, f.File)
		assert.True(t, k.Readable, f.File)
	}
}

func TestNamedLikeImages(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	pipe := filepath.Join(dir, "pipe.png")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, c := range []struct {
		path string
		kind error
		says string
	}{
		{write("lfs.jpg", lfsPointer), ErrNotImage, "a Git LFS pointer; the file itself is elsewhere; fetch it with git lfs pull"},
		{write("page.jpg", "<html><body>Please log in"), ErrNotImage, "the file is an HTML page"},
		{write("empty.jpg", ""), ErrEmpty, "the file is empty"},
		{write("raw.jpg", "\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom"), ErrUnsupported, "camera RAW (CR3) is not read; export it as JPEG first"},
		{write("video.jpg", "\x1a\x45\xdf\xa3"+strings.Repeat("\x01", 99)), ErrUnsupported, "video (Matroska) is not read"},
		{pipe, ErrNotImage, "not a regular file"},
		{"/dev/zero", ErrNotImage, "not a regular file"},
		{dir, ErrNotImage, "a directory"},
	} {
		_, err := DecodeFile(t.Context(), c.path, DefaultLimits)
		require.ErrorIs(t, err, c.kind, c.path)
		assert.Contains(t, err.Error(), "preprocess: "+c.path+": ")
		assert.Contains(t, err.Error(), c.says)
		assert.NotContains(t, err.Error(), "\n")
	}
	// A file of /proc says that it is empty, and is taken at its word: it may have no end.
	data, err := ReadFile(t.Context(), "/proc/self/maps", DefaultLimits)
	require.NoError(t, err)
	assert.Empty(t, data)
}
