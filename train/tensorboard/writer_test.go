package tensorboard

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWriter finds the bytes that TensorBoard's own classes write (testdata/tensorboard/make_goldens.py).
func TestWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tensorboard")
	began := time.Unix(1_700_000_000, 250_000_000)
	events := 0
	now := func() time.Time { // the file's name asks first
		events++
		return began.Add(time.Duration(max(0, events-2)) * time.Second)
	}
	w, err := open(dir, 301, now)
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.1700000000.*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	for _, p := range []struct {
		tag   string
		step  int
		value float64
	}{{"train/loss", 301, 4.158883}, {"train/lr", 301, 5e-4}, {"val/text_to_image_R@1", 0, 0}, {"train/loss", 70000, math.NaN()}} {
		require.NoError(t, w.Scalar(p.tag, p.step, p.value))
	}
	require.NoError(t, w.Flush())
	flushed, err := os.ReadFile(files[0])
	require.NoError(t, err)
	want, err := os.ReadFile(filepath.Join("..", "..", "testdata", "tensorboard", "events"))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, flushed), "%d bytes, want %d:\n%q\n%q", len(flushed), len(want), flushed, want)
	require.NoError(t, w.Close())
	assert.Error(t, w.Close(), "a closed file")
}

// TestFresh drops nothing: only a run that continues does.
func TestFresh(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, 0)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	assert.Len(t, text, 8+4+9+2+len("brain.Event:2")+4, "one record: the version")
	_, err = Open(files[0], 0)
	assert.ErrorContains(t, err, "tensorboard: mkdir")
}
