package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/internal/campaign"
)

// TestSwitchKilled takes an index from one model to another and back, killing infer index with
// SIGKILL at random moments, while it is searched without a pause: every search is answered, finds
// all images, and its scores are those of one model, the one that the index then had.
func TestSwitchKilled(t *testing.T) {
	const images = 60
	dir := t.TempDir()
	emoji(t, dir, images)
	at := filepath.Join(dir, index.DirName)
	var paths []string
	for _, name := range names(t, dir) {
		paths = append(paths, filepath.Join(dir, name))
	}
	ctx := context.Background()
	config, err := tower.ParseConfig([]byte(tinyConfig))
	require.NoError(t, err)
	var models []string
	rows := map[string]map[string][]float32{} // by model and image
	for _, name := range []string{"first", "second"} {
		m, err := clip.New(config, uint64(len(models)+1))
		require.NoError(t, err)
		saved := filepath.Join(t.TempDir(), name)
		require.NoError(t, m.Save(saved))
		models, rows[saved] = append(models, saved), map[string][]float32{}
		all, err := m.EncodeImages(ctx, slices.Collect(clip.FromFiles(paths...))...)
		require.NoError(t, err)
		for i, path := range paths {
			rows[saved][path] = all[i]
		}
	}
	code, _, errs := infer(t, "", "index", "--model", models[0], dir)
	require.Equal(t, 0, code, errs)

	stop := make(chan struct{})
	var searching sync.WaitGroup
	searches, switches := 0, 0
	searching.Go(func() {
		query := append(make([]float32, 15), 1)
		for {
			ix, err := index.Open(at)
			if !assert.NoError(t, err) {
				return
			}
			info, err := ix.Info(ctx)
			assert.NoError(t, err)
			for err == nil {
				select {
				case <-stop:
					assert.NoError(t, ix.Close())
					return
				case <-time.After(time.Millisecond):
				}
				var hits [][]index.Hit
				if hits, err = ix.Search(ctx, query, 100, index.Filter{}); err != nil {
					break
				}
				searches++
				assert.Len(t, hits[0], images)
				for _, h := range hits[0] {
					if !assert.InDelta(t, rows[info.Model.Name][h.Path][15], h.Score, 1e-5, "a score of another model") {
						err = errors.New("mixed")
						break
					}
				}
			}
			assert.NoError(t, ix.Close())
			if !errors.Is(err, index.ErrSwitched) {
				assert.NoError(t, err)
				return
			}
			switches++
		}
	})

	most, rng := campaign.Kills(t, 4)
	span := 300 * time.Millisecond
	killed, begun, whole := 0, 0, 0
	for to := 1; killed < most && !t.Failed(); {
		var errs bytes.Buffer
		cmd := process("index", "--model", models[to], "--batch-size", "2", "--commit-every", "2", "--threads", "1", dir)
		cmd.Stderr = &errs
		require.NoError(t, cmd.Start())
		exited := make(chan error, 1)
		go func() { exited <- cmd.Wait() }()
		before := encodedNow(t, at)
		if rng.IntN(5) > 0 { // most kills are for a run that has begun to write
			require.Eventually(t, func() bool { return len(exited) > 0 || encodedNow(t, at) != before }, 2*time.Minute, time.Millisecond)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(span))))
		_ = cmd.Process.Kill()
		<-exited
		noTrace(t, errs.String())
		if code := cmd.ProcessState.ExitCode(); code == -1 {
			killed++
			span += span / 10
			if encodedNow(t, at) > 0 {
				begun++
			}
		} else {
			require.Zero(t, code, errs.String())
			assert.Contains(t, errs.String(), "every image has an embedding of "+models[to])
			whole++
			span = max(span*3/4, 30*time.Millisecond)
		}
		ix, err := index.Open(at)
		require.NoError(t, err)
		require.NoError(t, ix.Verify(ctx))
		info, err := ix.Info(ctx)
		require.NoError(t, err)
		for path, row := range rows[info.Model.Name] {
			f, err := index.Stat(path)
			require.NoError(t, err)
			got, ok, err := ix.Vector(ctx, f)
			require.NoError(t, err)
			require.True(t, ok)
			require.InDeltaSlice(t, row, got, 1e-5)
		}
		require.NoError(t, ix.Close())
		if info.Model.Name == models[to] {
			to = 1 - to
		}
	}
	close(stop)
	searching.Wait()
	assert.Positive(t, searches)
	t.Logf("%d kills, %d of them in the middle of a switch, and %d whole runs; %d searches saw %d switches", killed, begun, whole, searches, switches)
}

// encodedNow is how many images have an embedding of the model that comes; -1 without one.
func encodedNow(t *testing.T, at string) int {
	ix, err := index.Open(at)
	require.NoError(t, err)
	defer ix.Close()
	info, err := ix.Info(context.Background())
	require.NoError(t, err)
	if info.Next == nil {
		return -1
	}
	return info.Encoded
}
