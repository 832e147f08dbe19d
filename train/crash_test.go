package train

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/internal/disk/crashtest"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
)

// inMemory is a directory in memory, if the machine has one: a crash test makes thousands of small
// directories.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "goclip-crash-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// smallest is a run of a model with 1,000 numbers, up to where its loop would begin: for saving,
// not for training.
func smallest(t *testing.T, fsys disk.FS, logs string) *Trainer {
	t.Helper()
	c, err := tower.ParseConfig([]byte(`{"embed_dim":2,"vision_cfg":{"image_size":4,"layers":1,"width":4,"head_width":4,"patch_size":4},
		"text_cfg":{"context_length":4,"vocab_size":8,"width":4,"heads":1,"layers":1}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	r := &Trainer{stepper: single(t, m), checkpoints: &checkpoints{disk: fsys, dir: filepath.Join(logs, "run")}}
	r.c = Config{SaveEpochs: 1, DeletePrevious: true}
	r.watch = newWatcher(&r.c, true)
	r.optimiser = optim.NewAdamW(parameterGroups(r.model, 0.2), optim.AdamWOptions{LR: 1e-3, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6})
	return r
}

// next changes the model, as a step would, and tells of it.
func (r *Trainer) next(t *testing.T) error {
	t.Helper()
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for _, p := range r.model.Parameters() {
			p.CopyFrom(s.Alias(p).AddScalar(1))
		}
	}))
	r.state.Step++
	return r.watch.records.step(Step{Step: r.state.Step, Loss: 1})
}

// resumed is a run that has been opened at its latest checkpoint.
func resumed(t *testing.T, fsys disk.FS, logs string) (*Trainer, error) {
	t.Helper()
	r := smallest(t, fsys, logs)
	from, note, err := r.find(r.dir)
	if err != nil {
		return r, err
	}
	if note != "" {
		r.notes = append(r.notes, note)
	}
	if from != "" {
		require.NoError(t, r.readState(from))
		r.model, err = clip.Open(t.Context(), from, &clip.OpenOptions{Copy: true})
		require.NoError(t, err)
		r.optimiser = optim.NewAdamW(parameterGroups(r.model, 0.2), optim.AdamWOptions{})
		require.NoError(t, r.restore(from))
	}
	return r, r.openDirectory(from)
}

// shut closes what a run has open.
func (r *Trainer) shut() {
	r.watch.records.close()
	r.unlockDirectory()
}

// saves is what crash tests stop: two epochs of two steps, latest after each step, epoch_N after
// each epoch.
func (r *Trainer) saves(t *testing.T, saved func(name string)) error {
	for range 4 {
		if err := r.next(t); err != nil {
			return err
		}
		if r.state.Step%2 == 0 {
			r.state.Epoch++
			if err := r.saveEpoch(); err != nil {
				return err
			}
			saved(epochName(r.state.Epoch))
		}
		if err := r.save(latest); err != nil {
			return err
		}
		saved(latest)
	}
	return nil
}

// contents are the bytes of a checkpoint's tensors.
func contents(t *testing.T, dir string) (all string) {
	t.Helper()
	for _, name := range []string{clip.WeightsFile, filepath.Join(stateDir, optimiserFile)} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		all += string(text)
	}
	return all
}

// notes is how many lines metrics.jsonl has, which must be those of the steps 1, 2, and so on.
func metricsLines(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	for i, line := range lines[:len(lines)-1] {
		require.Contains(t, line, fmt.Sprintf(`{"step":%d,`, i+1))
	}
	require.Empty(t, lines[len(lines)-1])
	return len(lines) - 1
}

// history is a run's saves on a disk with a journal.
type history struct {
	disk  *crashtest.FS
	logs  string
	steps []int          // steps[n]: the step of the last latest that was safe after n operations; 0 before there is one
	kept  map[int]string // by step, what a checkpoint of it holds
}

func record(t *testing.T, exchange bool) *history {
	t.Helper()
	h := &history{logs: inMemory(t), kept: map[int]string{}}
	var err error
	h.disk, err = crashtest.New(h.logs)
	require.NoError(t, err)
	h.disk.NoExchange = !exchange
	r := smallest(t, h.disk, h.logs)
	require.NoError(t, r.openDirectory(""))
	defer r.shut()
	safe := 0
	require.NoError(t, r.saves(t, func(name string) {
		h.kept[r.state.Step] = contents(t, filepath.Join(r.dir, "checkpoints", name))
		if name == latest {
			for len(h.steps) < h.disk.Journal() {
				h.steps = append(h.steps, safe)
			}
			safe = r.state.Step
		}
	}))
	h.steps = append(h.steps, safe)
	return h
}

// TestCrashWhileSaving stops a run's saves after every operation, lets the disk keep, lose and tear
// what was not synced, and resumes from all that this can leave: from the checkpoint that was
// written last or was being written, with its lines.
func TestCrashWhileSaving(t *testing.T) {
	for _, exchange := range []bool{true, false} {
		t.Run(fmt.Sprintf("exchange %v", exchange), func(t *testing.T) {
			h := record(t, exchange)
			states, resumes, again, others := 0, 0, 0, 0
			logs, store := inMemory(t), inMemory(t)
			for n, s := range h.disk.Crashes() {
				states++
				at := func() string { return fmt.Sprintf("after operation %d of %d:\n%s", n, h.disk.Journal(), s) }
				require.NoError(t, s.Write(logs, store))
				from := check(t, logs, h, h.steps[min(n, len(h.steps)-1)], at)
				if from != latest && from != "" {
					others++
					require.False(t, exchange && h.steps[min(n, len(h.steps)-1)] > 0, "the latest is always there: %s", at())
				}
				if states%crashEvery == 0 {
					resumes++
					again += crashAgain(t, logs, h, at)
				}
			}
			t.Logf("%d operations, %d states of the disk, %d of them without a whole latest; %d resumed, and stopped in that: %d states", h.disk.Journal(), states, others, resumes, again)
			assert.Equal(t, 4, len(h.kept))
		})
	}
}

// check finds the checkpoint of a crashed disk and compares it with what was saved. safe is the
// step that must not be lost.
func check(t *testing.T, logs string, h *history, safe int, at func() string) (name string) {
	t.Helper()
	r := &checkpoints{dir: filepath.Join(logs, "run"), disk: disk.Machine{}}
	dir, note, err := r.find(r.dir)
	require.NoError(t, err, at())
	for epoch := range 3 { // what has such a name is whole
		if path := filepath.Join(r.dir, "checkpoints", epochName(epoch)); exists(path) {
			require.NoError(t, checkWhole(path), at())
		}
	}
	if dir == "" {
		require.Zero(t, safe, "a checkpoint is lost: %s", at())
		return ""
	}
	if filepath.Base(dir) != latest && safe > 0 {
		require.NotEmpty(t, note, at())
	}
	s, err := openState(filepath.Join(dir, stateDir, stateFile))
	require.NoError(t, err)
	require.Contains(t, []int{safe, safe + 1}, s.Step, at())
	require.True(t, contents(t, dir) == h.kept[s.Step], "other numbers: %s", at())
	fsys, err := crashtest.New(logs)
	require.NoError(t, err)
	lines, err := openRecords(fsys, r.dir, &Config{}, s.Step)
	require.NoError(t, err)
	require.NoError(t, lines.close())
	require.Equal(t, s.Step, metricsLines(t, r.dir), at())
	return filepath.Base(dir)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// crashAgain resumes from a crashed disk, does a step more and saves, and checks all that a stop in
// that can leave.
func crashAgain(t *testing.T, logs string, h *history, at func() string) (states int) {
	t.Helper()
	fsys, err := crashtest.New(logs)
	require.NoError(t, err)
	r, err := resumed(t, fsys, logs)
	require.NoError(t, err, at())
	defer r.shut()
	was := r.state.Step
	require.NoError(t, r.next(t))
	require.NoError(t, r.save(latest))
	require.NoError(t, checkWhole(filepath.Join(r.dir, "checkpoints", latest)), at())
	require.Equal(t, was+1, metricsLines(t, r.dir))
	for _, e := range must(os.ReadDir(filepath.Join(r.dir, "checkpoints"))) {
		require.NotContains(t, e.Name(), ".", "nothing half-written stays: %s", at())
	}
	again, store := inMemory(t), inMemory(t)
	next := &history{kept: map[int]string{was: h.kept[was], was + 1: contents(t, filepath.Join(r.dir, "checkpoints", latest))}}
	every := 0
	for n, s := range fsys.Crashes() {
		if every++; every%crashedTwiceEvery != 0 {
			continue
		}
		states++
		require.NoError(t, s.Write(again, store))
		safe := was
		if n == fsys.Journal() {
			safe++
		}
		check(t, again, next, safe, func() string { return fmt.Sprintf("%s\nand then after operation %d:\n%s", at(), n, s) })
	}
	return states
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestEveryOperationFails lets each operation of the saves fail, once or from then on: the run
// stops with a sentence that names the file, and the checkpoint before is whole, also if the power
// fails then.
func TestEveryOperationFails(t *testing.T) {
	h := record(t, true)
	for _, c := range []struct {
		name string
		err  error
		once bool
		says string
	}{
		{"full disk", syscall.ENOSPC, false, "the disk is full"},
		{"full disk for a moment", syscall.ENOSPC, true, "the disk is full"},
		{"broken disk", syscall.EIO, false, "input/output error"},
		{"broken sector", syscall.EIO, true, "input/output error"},
		{"read-only", syscall.EROFS, false, "read-only file system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			points, states := 0, 0
			for at := 0; ; at += failEach {
				logs := inMemory(t)
				fsys, err := crashtest.New(logs)
				require.NoError(t, err)
				var failed, path string
				fsys.Fail = func(n int, kind crashtest.Kind, at2 string) error {
					frees := kind == crashtest.Remove && errors.Is(c.err, syscall.ENOSPC) // which a full disk lets do
					if n < at || frees || c.once && failed != "" {
						return nil
					}
					if failed == "" {
						failed, path = fmt.Sprintf("%d, %s %s", n, kind, at2), at2
					}
					return c.err
				}
				safe := 0
				r := smallest(t, fsys, logs)
				if err = r.openDirectory(""); err == nil {
					err = r.saves(t, func(name string) {
						if name == latest {
							safe = r.state.Step
						}
					})
				}
				if failed == "" {
					require.NoError(t, err)
					break
				}
				points++
				if err == nil { // a line has waited until there was room
					require.True(t, c.once && errors.Is(c.err, syscall.ENOSPC), failed)
					require.Contains(t, []string{"metrics.jsonl", "results.jsonl", "out.log"}, filepath.Base(path))
					require.Equal(t, 4, metricsLines(t, r.dir), failed)
					r.shut()
					continue
				}
				require.ErrorIs(t, err, c.err, failed)
				assert.ErrorContains(t, err, c.says)
				assert.ErrorContains(t, err, logs, path)
				assert.True(t, strings.HasPrefix(err.Error(), "train: "), err)
				assert.Equal(t, 1, strings.Count(err.Error(), "train: "), err)
				r.shut()
				again, store := inMemory(t), inMemory(t)
				every := -1
				for s := range fsys.Crash() {
					if every++; every%failedEvery != 0 {
						continue
					}
					if states++; every > failedMost {
						break
					}
					require.NoError(t, s.Write(again, store))
					check(t, again, h, safe, func() string { return fmt.Sprintf("failed: %s\n%s", failed, s) })
				}
			}
			t.Logf("%d operations failed, %d states of the disk after it", points, states)
		})
	}
}
