package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/internal/campaign"
)

// TestIndexKilled kills infer index with SIGKILL at random moments while it adds and removes
// images. After each kill the index opens, every vector has its checksum, what --verbose has told
// of is there once, and the next run continues.
func TestIndexKilled(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	emoji(t, dir, 40)
	seeds := names(t, dir)
	at := filepath.Join(dir, index.DirName)
	most, rng := campaign.Kills(t, 6)
	acknowledged := map[string]bool{}
	killed, adding, made, whole := 0, 0, 0, 0
	span := 300 * time.Millisecond
	present := map[string]bool{}
	for killed < most {
		for range 40 { // new images, and now and then fewer
			made++
			data := append(readFile(t, filepath.Join(dir, seeds[rng.IntN(len(seeds))])), byte(made))
			present[writeFile(t, dir, fmt.Sprintf("new%d.png", made), data)] = true
		}
		if len(present) > 600 || rng.IntN(5) == 0 {
			for path := range present {
				if rng.IntN(2) == 0 {
					require.NoError(t, os.Remove(path))
					delete(present, path)
					delete(acknowledged, path)
				}
			}
		}
		told := filepath.Join(t.TempDir(), "told")
		out, err := os.Create(told)
		require.NoError(t, err)
		var errs bytes.Buffer
		cmd := process("index", "--model", tiny, "--verbose", "--batch-size", "2", "--commit-every", "2", "--threads", "1", dir)
		cmd.Stdout, cmd.Stderr = out, &errs
		require.NoError(t, cmd.Start())
		exited := make(chan error, 1)
		go func() { exited <- cmd.Wait() }()
		if rng.IntN(5) > 0 { // most kills are for a run that has begun to write
			require.Eventually(t, func() bool {
				info, err := os.Stat(told)
				return err == nil && info.Size() > 0 || len(exited) > 0
			}, 2*time.Minute, time.Millisecond)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(span))))
		_ = cmd.Process.Kill()
		<-exited
		noTrace(t, errs.String())
		require.NoError(t, out.Close())
		text := string(readFile(t, told))
		if code := cmd.ProcessState.ExitCode(); code == -1 {
			killed++
			if text != "" {
				adding++
			}
			span += span / 10
		} else {
			require.Zero(t, code, errs.String())
			whole++
			span = max(span*3/4, 30*time.Millisecond)
		}
		for _, line := range strings.SplitAfter(text, "\n") {
			if path, ok := strings.CutSuffix(line, "\n"); ok { // the last may be torn
				acknowledged[path[2:]] = path[0] == '+'
			}
		}
		if _, err := os.Stat(filepath.Join(at, "pictures.db")); err != nil && len(acknowledged) == 0 {
			continue // killed before there was an index
		}
		holds(t, at, acknowledged)
	}
	code, _, errs := infer(t, "", "index", "--model", tiny, dir)
	require.Equal(t, 0, code, errs)
	want := map[string]bool{}
	for _, name := range names(t, dir) {
		if strings.HasSuffix(name, ".png") {
			want[filepath.Join(dir, name)] = true
		}
	}
	assert.Equal(t, len(want), holds(t, at, want), "each image once")
	t.Logf("%d kills, %d of them after a commit of the run, and %d whole runs, for %d images", killed, adding, whole, made)
}

// holds checks the index and that it has what was acknowledged; it gives the number of its
// images.
func holds(t *testing.T, at string, acknowledged map[string]bool) int {
	t.Helper()
	ctx := context.Background()
	ix, err := index.Open(at)
	if err != nil && len(acknowledged) == 0 {
		assert.ErrorIs(t, err, os.ErrNotExist, "nothing was ever committed")
		return 0
	}
	require.NoError(t, err)
	defer ix.Close()
	require.NoError(t, ix.Verify(ctx))
	info, err := ix.Info(ctx)
	require.NoError(t, err)
	hits, err := ix.Search(ctx, append(make([]float32, 15), 1), 1<<20, index.Filter{})
	require.NoError(t, err)
	have := map[string]bool{}
	for _, h := range hits[0] {
		assert.False(t, have[h.Path], "%s twice", h.Path)
		have[h.Path] = true
	}
	require.Len(t, have, info.Images)
	for path, added := range acknowledged {
		if added {
			require.True(t, have[path], "%s was acknowledged", path)
		}
	}
	return len(have)
}
