package index

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
)

// exifImage is one that testdata/exif/make_pictures.py has written.
func exifImage(name string) string { return filepath.Join("..", "testdata", "exif", name) }

func TestTaken(t *testing.T) {
	local := time.Date(2019, 7, 14, 16, 20, 30, 0, time.Local)
	zoned := time.Date(2019, 7, 14, 14, 20, 30, 0, time.UTC)
	for name, want := range map[string]time.Time{
		"offset.jpg": zoned, "offset.png": zoned, "offset.webp": zoned, "offset.tif": zoned,
		"local.jpg": local, "local.png": local, "local.webp": local, "local.tif": local,
		"changed.jpg": {}, "empty.jpg": {}, "blank.jpg": {}, "far.jpg": {}, "none.jpg": {},
		"make_pictures.py": {}, "no such file": {},
	} {
		assert.True(t, want.Equal(Taken(exifImage(name))), "%s: %s", name, Taken(exifImage(name)))
	}
}

// FuzzTaken reads damaged metadata: a time that the index can hold, or none, and never a panic.
func FuzzTaken(of *testing.F) {
	f := campaign.Inputs(of, 16<<20)
	pictures, err := filepath.Glob(exifImage("*.*"))
	require.NoError(f, err)
	for _, path := range pictures {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		at := takenOf(bytes.NewReader(data))
		if !at.IsZero() && !time.Unix(0, at.UnixNano()).Equal(at) {
			t.Errorf("%s does not fit", at)
		}
	})
}
