//go:build soak

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// soaked are pictures of several formats, one in five missing, 20,000 in all.
func soaked() (paths []string) {
	pictures := []string{"face.png", "cup_444.jpg", "palette.png", "lossless.webp", "none.png"}
	for i := range 20_000 {
		paths = append(paths, testPicture(pictures[i%len(pictures)]))
	}
	return paths
}

// TestSoak scores 20,000 pictures in one run of the command, some of them unreadable, and looks at
// what it holds.
func TestSoak(t *testing.T) {
	args := []string{"score", "--model", tinyModel(t), "--text", "a face", "--text", "a cup", "--format", "json", "--threads", "1"}
	soak(t, append(args, soaked()...)...)
}

// TestSoakEmbed does the same with parts.
func TestSoakEmbed(t *testing.T) {
	table := "title,filepath\n"
	for i, path := range soaked() {
		table += fmt.Sprintf("picture %d,%s\n", i, path)
	}
	dir := t.TempDir()
	soak(t, "embed", "--model", tinyModel(t), "--data", writeFile(t, dir, "table.csv", []byte(table)), "--csv-separator", ",", "--captions", "--part-size", "500",
		"--threads", "1", "--out", filepath.Join(dir, "out"))
}

// soak runs the command, which has one picture in five that cannot be read, and compares what it
// holds early and late.
func soak(t *testing.T, args ...string) {
	t.Helper()
	before := torch.LiveTensors()
	done := make(chan int)
	go func() {
		code, _, _ := infer(t, "", args...)
		done <- code
	}()
	var kib []int64
	for running := true; running; {
		select {
		case code := <-done:
			require.Equal(t, 1, code, "one picture in five is missing")
			running = false
		case <-time.After(50 * time.Millisecond):
			kib = append(kib, resident(t))
		}
	}
	quarter := len(kib) / 4
	require.Positive(t, quarter)
	early, late := slices.Min(kib[quarter:2*quarter]), slices.Min(kib[3*quarter:])
	for range 3 { // the model waits for the collector
		runtime.GC()
	}
	t.Logf("resident in the second quarter %.1f MiB, in the last %.1f MiB; handles before %d, after %d", float64(early)/1024, float64(late)/1024, before, torch.LiveTensors())
	assert.LessOrEqual(t, late-early, int64(20<<10), "KiB gained")
	assert.LessOrEqual(t, torch.LiveTensors(), before, "handles gained")
}

// resident is VmRSS of this process, in KiB.
func resident(t *testing.T) (kib int64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, found := bytes.Cut(status, []byte("VmRSS:"))
	require.True(t, found)
	_, err = fmt.Sscan(string(rest), &kib)
	require.NoError(t, err)
	return kib
}
