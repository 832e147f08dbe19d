package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/internal/disk/crashtest"
	"github.com/goclip/goclip/torch/distributed"
)

// partsData is a table of some images with captions, one of which cannot be read, and the flags
// that embed it into dir.
func partsData(t *testing.T, pictures int) (flags func(out string) []string) {
	tiny, dir := tinyModel(t), t.TempDir()
	table := "title,filepath\nnone,gone.png\n"
	for caption, name := range emoji(t, dir, pictures) {
		table += caption + "," + name + "\n"
	}
	path := writeFile(t, dir, "table.csv", []byte(table))
	return func(out string) []string {
		return []string{"embed", "--model", tiny, "--data", path, "--csv-separator", ",", "--captions", "--part-size", "8", "--batch-size", "4", "--threads", "1", "--out", out}
	}
}

// TestEmbedKilled kills infer embed with SIGKILL at random moments until it comes to its end: the
// files are byte for byte those of a run that nobody disturbed.
func TestEmbedKilled(t *testing.T) {
	flags := partsData(t, 80)
	dir := t.TempDir()
	calm := filepath.Join(dir, "calm")
	code, _, errs := infer(t, "", flags(calm)...)
	require.Equal(t, 1, code, errs)
	want := readTree(t, calm)
	most, rng := campaign.Kills(t, 6)
	killed, writing, whole := 0, 0, 0
	for ; killed < most; whole++ {
		out := filepath.Join(dir, "out")
		require.NoError(t, os.RemoveAll(out))
		complete := func() int {
			done, _ := filepath.Glob(filepath.Join(out, "metadata", "*.parquet"))
			return len(done)
		}
		for running := true; running; {
			var errs bytes.Buffer
			cmd := process(flags(out)...)
			cmd.Stderr = &errs
			before := complete()
			require.NoError(t, cmd.Start())
			exited := make(chan error, 1)
			go func() { exited <- cmd.Wait() }()
			if rng.IntN(5) > 0 { // most kills are for a run that has begun to write
				require.Eventually(t, func() bool { return complete() > before || len(exited) > 0 }, 2*time.Minute, time.Millisecond)
			}
			time.Sleep(time.Duration(rng.Int64N(int64(50 * time.Millisecond))))
			_ = cmd.Process.Kill()
			<-exited
			noTrace(t, errs.String())
			if running = cmd.ProcessState.ExitCode() == -1; running {
				killed++
				if complete() > before {
					writing++
				}
			} else {
				require.Equal(t, 1, cmd.ProcessState.ExitCode(), errs.String())
			}
		}
		require.Equal(t, want, readTree(t, out))
	}
	t.Logf("%d kills, %d of them after the run had completed a part, in %d runs of %d files", killed, writing, whole, len(want))
}

// TestEmbedPartsInterrupted stops a run by a signal: what is complete stays, nothing else, and the
// next run continues.
func TestEmbedPartsInterrupted(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	list := writeFile(t, dir, "list.txt", []byte(strings.Repeat(testImage("rgb_1x1.png")+"\n", 6_000)))
	flags := []string{"embed", "--model", tiny, "--image-list", list, "--part-size", "150", "--threads", "1", "--out"}
	calm, out := filepath.Join(dir, "calm"), filepath.Join(dir, "out")
	code, _, errs := infer(t, "", append(flags, calm)...)
	require.Zero(t, code, errs)
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		var errs bytes.Buffer
		cmd := process(append(flags, out)...)
		cmd.Stderr = &errs
		before, _ := os.ReadDir(filepath.Join(out, "metadata"))
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool {
			now, err := os.ReadDir(filepath.Join(out, "metadata"))
			return err == nil && len(now) > len(before)+3
		}, time.Minute, time.Millisecond)
		require.NoError(t, cmd.Process.Signal(signal))
		require.Error(t, cmd.Wait())
		assert.Equal(t, 130, cmd.ProcessState.ExitCode())
		assert.Regexp(t, `^infer: interrupted; \d+ of 40 parts are complete, and the same command resumes there$`, oneLine(t, errs.String()))
		complete := names(t, filepath.Join(out, "metadata"))
		assert.Len(t, names(t, filepath.Join(out, "img_emb")), len(complete))
		for _, name := range complete {
			assert.NotContains(t, name, ".tmp")
		}
	}
	code, _, errs = infer(t, "", append(flags, out)...)
	require.Zero(t, code, errs)
	assert.Equal(t, readTree(t, calm), readTree(t, out))
}

// TestEmbedCrash stops a run after every operation on its files, with what was not synced kept,
// lost or torn: what the next run takes for complete is, and at its end the files are those of a
// run that was not stopped.
func TestEmbedCrash(t *testing.T) {
	m, err := clip.Open(t.Context(), tinyModel(t), nil)
	require.NoError(t, err)
	id, err := index.Identify(m, nil)
	require.NoError(t, err)
	pictures, _ := testImages(t)
	plan := newPlan(2)
	plan.add(pathList{pictures + "/a.png", pictures + "/gone.png", pictures + "/d.jpg"})
	embed := func(fsys disk.FS, dir string) error {
		r := &partRun{dir: dir, fsys: fsys, m: m, batch: 2, pictures: true, parts: plan.parts, world: distributed.World{Size: 1}, errs: new(bytes.Buffer)}
		return r.run(context.Background(), manifest{Model: id, PartSize: 2, Parts: len(plan.parts), Inputs: plan.inputs()})
	}
	root := t.TempDir()
	fsys, err := crashtest.New(root)
	require.NoError(t, err)
	require.ErrorIs(t, embed(fsys, root), errReported)
	want := readTree(t, root)
	require.Len(t, want, 2+2+1+1)
	state, store, states := t.TempDir(), t.TempDir(), 0
	for n, s := range fsys.Crashes() {
		states++
		require.NoError(t, s.Write(state, store))
		require.ErrorIs(t, embed(disk.Machine{}, state), errReported, "after %d operations: %s", n, s)
		require.Equal(t, want, readTree(t, state), "after %d operations: %s", n, s)
	}
	t.Logf("%d states of %d operations", states, fsys.Journal())
	assert.Greater(t, states, 100)
}
