//go:build soak

package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// soaked are images of several formats, one in five missing, 20,000 in all.
func soaked() (paths []string) {
	pictures := []string{"face.png", "cup_444.jpg", "palette.png", "lossless.webp", "none.png"}
	for i := range 20_000 {
		paths = append(paths, testImage(pictures[i%len(pictures)]))
	}
	return paths
}

// TestSoak scores 20,000 images in one run of the command, some of them unreadable, and looks at
// what it holds.
func TestSoak(t *testing.T) {
	args := []string{"score", "--model", tinyModel(t), "--text", "a face", "--text", "a cup", "--format", "json", "--threads", "1"}
	soak(t, append(args, soaked()...)...)
}

// TestSoakSeesALeak keeps one tensor of 4 KiB for every 1,000 images or so: the handles that
// TestSoak counts must show it.
func TestSoakSeesALeak(t *testing.T) {
	var kept []*torch.Tensor
	args := []string{"score", "--model", tinyModel(t), "--text", "a face", "--format", "json", "--threads", "1"}
	_, handles := held(t, func() {
		if len(kept) < 2 {
			kept = append(kept, torch.Ones(nil, torch.CPU, torch.Float32, 1<<10))
		}
	}, append(args, soaked()[:2000]...)...)
	assert.Equal(t, int64(2), handles)
	for _, k := range kept {
		k.Free()
	}
}

// TestSoakEmbed does the same with parts.
func TestSoakEmbed(t *testing.T) {
	table := "title,filepath\n"
	for i, path := range soaked() {
		table += fmt.Sprintf("image %d,%s\n", i, path)
	}
	dir := t.TempDir()
	soak(t, "embed", "--model", tinyModel(t), "--data", writeFile(t, dir, "table.csv", []byte(table)), "--csv-separator", ",", "--captions", "--part-size", "500",
		"--threads", "1", "--out", filepath.Join(dir, "out"))
}

func soak(t *testing.T, args ...string) {
	t.Helper()
	kib, handles := held(t, func() {}, args...)
	assert.LessOrEqual(t, kib, int64(20<<10), "KiB gained")
	assert.LessOrEqual(t, handles, int64(0), "handles gained")
}

// held runs the command, which has one image in five that cannot be read, and compares what it
// holds early and late. leak is called at each look.
func held(t *testing.T, leak func(), args ...string) (kib, handles int64) {
	t.Helper()
	before := settled.Count(torch.LiveTensors)
	done := make(chan int)
	go func() {
		code, _, _ := infer(t, "", args...)
		done <- code
	}()
	var looks []int64
	for running := true; running; {
		select {
		case code := <-done:
			require.Equal(t, 1, code, "one image in five is missing")
			running = false
		case <-time.After(50 * time.Millisecond):
			looks = append(looks, campaign.Resident(t))
			leak()
		}
	}
	early, late := campaign.Gained(looks)
	after := settled.Count(torch.LiveTensors)
	t.Logf("resident in the second quarter %.1f MiB, in the last %.1f MiB; handles before %d, after %d", float64(early)/1024, float64(late)/1024, before, after)
	return late - early, after - before
}
