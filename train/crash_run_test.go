package train

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/internal/disk/crashtest"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
	"github.com/goclip/goclip/train/data"
)

// tinyRun is options for 2 epochs of 3 steps, evaluated and kept after each, with a checkpoint
// after each second step.
func tinyRun(t *testing.T, logs string) crashing {
	t.Helper()
	dir := t.TempDir()
	c, err := tower.ParseConfig([]byte(`{"embed_dim":4,"vision_cfg":{"image_size":16,"layers":1,"width":8,"head_width":8,"patch_size":8,"patch_dropout":0.25},
		"text_cfg":{"context_length":8,"vocab_size":49408,"width":2,"heads":1,"layers":1}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	require.NoError(t, m.Save(filepath.Join(dir, "model")))
	table := "filepath\ttitle\n"
	for i := range 13 {
		img := image.NewRGBA(image.Rect(0, 0, 18, 18))
		for p := range 18 * 18 {
			img.SetRGBA(p%18, p/18, color.RGBA{R: uint8(19 * i), G: uint8(7 * p), B: uint8(p * i), A: 255})
		}
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.png", i)))
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, img))
		require.NoError(t, f.Close())
		table += fmt.Sprintf("%d.png\tsquare number %d\n", i, i)
	}
	list := filepath.Join(dir, "data.tsv")
	require.NoError(t, os.WriteFile(list, []byte(table), 0o644))
	return crashing{Config{BatchSize: 4, Epochs: 2, LR: 1e-3, Warmup: 2, Workers: 1, WeightDecay: 0.2, DeletePrevious: true, SaveSteps: 2,
		SaveEvery: None, LogEvery: 1, Dir: filepath.Join(logs, "run")}, list, filepath.Join(dir, "model")}
}

// crashing is a run on a disk that fails.
type crashing struct {
	Config
	data, model string
}

// on trains on a disk, from the beginning or from where it is.
func (o crashing) on(t *testing.T, logs string, watch func(n int, kind crashtest.Kind, path string) error) (*crashtest.FS, error) {
	t.Helper()
	torch.SetNumThreads(1)
	fsys, err := crashtest.New(logs)
	require.NoError(t, err)
	fsys.Fail = watch
	o.Dir = filepath.Join(logs, "run")
	set, err := data.Open(t.Context(), o.data, nil)
	require.NoError(t, err)
	o.Val = set
	tr, err := prepare(&o.Config, fsys)
	require.NoError(t, err)
	err = ErrNoCheckpoint
	if exists(tr.dir) {
		err = tr.openResumed(t.Context(), tr.dir, set)
	}
	if errors.Is(err, ErrNoCheckpoint) {
		var m *clip.Model
		m, err = clip.Open(t.Context(), o.model, &clip.OpenOptions{Copy: true})
		require.NoError(t, err)
		err = tr.open(t.Context(), m, set, "")
	}
	require.NoError(t, err)
	err = tr.Run(t.Context())
	return fsys, errors.Join(err, tr.Close())
}

// left is what a run comes to: its tensors, its losses, its evaluations.
func left(t *testing.T, logs string) string {
	t.Helper()
	dir := filepath.Join(logs, "run")
	all := contents(t, filepath.Join(dir, "checkpoints", latest))
	for _, line := range strings.Split(string(must(os.ReadFile(filepath.Join(dir, "metrics.jsonl")))), "\n") {
		line, _, _ = strings.Cut(line, `"data_time"`)
		all += line
	}
	for _, name := range []string{"results.jsonl", "loss.png"} {
		all += string(must(os.ReadFile(filepath.Join(dir, name))))
	}
	return all
}

// TestCrashOfARun stops a whole run after every operation: what it says of its steps and
// evaluations fits the checkpoint that is found, which is never older than one that was safe; and
// run on to its end it comes to the run that was never stopped, bit for bit.
func TestCrashOfARun(t *testing.T) {
	logs := inMemory(t)
	o := tinyRun(t, logs)
	newest := filepath.Join(logs, "run", "checkpoints", latest)
	var safe []int // by operation, the step that is safe when it is done
	var now int
	var fsys *crashtest.FS
	fsys, err := o.on(t, logs, func(n int, kind crashtest.Kind, path string) error {
		for len(safe) < n {
			safe = append(safe, now)
		}
		if kind == crashtest.SyncDir && path == filepath.Dir(newest) {
			if s, err := openState(filepath.Join(newest, stateDir, stateFile)); err == nil {
				now = s.Step
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, fsys.Operations(), fsys.Journal())
	want := left(t, logs)
	require.Equal(t, 6, metricsLines(t, filepath.Join(logs, "run")))

	files := map[int]map[string]disk.Sum{} // of the checkpoint of each step
	state, store := inMemory(t), inMemory(t)
	states, looked, finished := 0, 0, 0
	for n, s := range fsys.Crashes() {
		states++
		if states%runLookEvery != 0 {
			continue
		}
		looked++
		require.NoError(t, s.Write(state, store))
		at := fmt.Sprintf("after operation %d of %d:\n%s", n, fsys.Journal(), s)
		dir := filepath.Join(state, "run")
		r := &checkpoints{dir: dir}
		found, note, err := r.find(dir)
		require.NoError(t, err, at)
		least := 0
		if n > 0 && n-1 < len(safe) {
			least = safe[n-1]
		}
		require.True(t, least == 0 || note == "", "latest is always whole, once there is one: %s", at)
		if found == "" {
			require.Zero(t, least, at)
		} else {
			is := must(openState(filepath.Join(found, stateDir, stateFile)))
			require.GreaterOrEqual(t, is.Step, least, at)
			if files[is.Step] == nil {
				files[is.Step] = is.Files
			}
			require.Equal(t, files[is.Step], is.Files, at)
			records, err := openRecords(must(crashtest.New(state)), dir, &o.Config, is.Step)
			require.NoError(t, err, at)
			require.NoError(t, records.close())
			require.Equal(t, is.Step, metricsLines(t, dir), at)
			require.Equal(t, is.Epoch, strings.Count(string(must(os.ReadFile(filepath.Join(dir, "results.jsonl")))), "\n"), at)
		}
		if looked%runFinishEvery == 0 {
			finished++
			again := o
			again.Workers = 1 + finished%4
			_, err := again.on(t, state, nil)
			require.NoError(t, err, at)
			require.True(t, want == left(t, state), "another end: %s", at)
		}
	}
	t.Logf("%d operations, %d states of the disk, %d looked into, %d run on to their end", fsys.Journal(), states, looked, finished)
	assert.Positive(t, finished)
}

// TestDamage takes a checkpoint that has been damaged, which no crash does: the run continues from
// the newest that is whole and says so, or stops if there is none.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"bit":     func(dir string) error { return flip(filepath.Join(dir, clip.WeightsFile)) },
		"state":   func(dir string) error { return flip(filepath.Join(dir, stateDir, stateFile)) },
		"cut":     func(dir string) error { return os.Truncate(filepath.Join(dir, stateDir, optimiserFile), 1000) },
		"config":  func(dir string) error { return os.Remove(filepath.Join(dir, clip.ConfigFile)) },
		"no file": func(dir string) error { return os.RemoveAll(filepath.Join(dir, stateDir)) },
	} {
		t.Run(name, func(t *testing.T) {
			logs := t.TempDir()
			fsys, err := crashtest.New(logs)
			require.NoError(t, err)
			r := smallest(t, fsys, logs)
			require.NoError(t, r.openDirectory(""))
			require.NoError(t, r.saves(t, func(string) {})) // epoch_2 and latest, of step 4
			require.NoError(t, r.next(t))
			require.NoError(t, r.save(latest))
			r.shut()
			checkpoints := filepath.Join(logs, "run", "checkpoints")
			require.NoError(t, damage(filepath.Join(checkpoints, latest)))

			r, err = resumed(t, fsys, logs)
			require.NoError(t, err)
			assert.Equal(t, 4, r.state.Step)
			require.Len(t, r.notes, 1)
			assert.Regexp(t, `^WARNING: .*/latest is not whole: .*; the run continues from .*/epoch_2, after step 4$`, r.notes[0])
			require.NoError(t, checkWhole(filepath.Join(checkpoints, latest)), "it has been written again")
			assert.Equal(t, 4, metricsLines(t, r.dir))
			r.shut()

			require.NoError(t, damage(filepath.Join(checkpoints, latest)))
			require.NoError(t, damage(filepath.Join(checkpoints, "epoch_2")))
			_, err = resumed(t, fsys, logs)
			assert.ErrorContains(t, err, checkpoints+" holds no whole checkpoint: ")
			one := smallest(t, fsys, logs)
			_, _, err = one.find(filepath.Join(checkpoints, "epoch_2"))
			assert.Error(t, err)
		})
	}
}

// flip changes a bit in the middle of a file.
func flip(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text[len(text)/2] ^= 1
	return os.WriteFile(path, text, 0o644)
}

// TestEarlierCheckpoint resumes from one of a goclip that kept no sums.
func TestEarlierCheckpoint(t *testing.T) {
	logs := t.TempDir()
	fsys, err := crashtest.New(logs)
	require.NoError(t, err)
	r := smallest(t, fsys, logs)
	require.NoError(t, r.openDirectory(""))
	require.NoError(t, r.next(t))
	require.NoError(t, r.save(latest))
	r.shut()
	path := filepath.Join(logs, "run", "checkpoints", latest, stateDir, stateFile)
	s := must(openState(path))
	s.Files = nil
	require.NoError(t, os.WriteFile(path, must(seal(s)), 0o644))
	r, err = resumed(t, fsys, logs)
	require.NoError(t, err)
	assert.Equal(t, 1, r.state.Step)
	assert.Empty(t, r.notes)
	r.shut()
}

// TestEarlierEpoch goes back to an epoch, and is stopped after each operation of that: latest is
// the one or the other, with all lines of its steps, and in the end the epoch's.
func TestEarlierEpoch(t *testing.T) {
	logs := inMemory(t)
	fsys, err := crashtest.New(logs)
	require.NoError(t, err)
	r := smallest(t, fsys, logs)
	require.NoError(t, r.openDirectory(""))
	require.NoError(t, r.saves(t, func(string) {}))
	kept := map[int]string{4: contents(t, filepath.Join(r.dir, "checkpoints", "epoch_2"))}
	require.NoError(t, r.next(t))
	require.NoError(t, r.save(latest))
	kept[5] = contents(t, filepath.Join(r.dir, "checkpoints", latest))
	r.shut()

	fsys, err = crashtest.New(logs)
	require.NoError(t, err)
	back := smallest(t, fsys, logs)
	from, _, err := back.find(filepath.Join(logs, "run", "checkpoints", "epoch_2"))
	require.NoError(t, err)
	require.NoError(t, back.readState(from))
	back.model, err = clip.Open(t.Context(), from, &clip.OpenOptions{Copy: true})
	require.NoError(t, err)
	back.optimiser = optim.NewAdamW(parameterGroups(back.model, 0.2), optim.AdamWOptions{})
	require.NoError(t, back.restore(from))
	require.NoError(t, back.openDirectory(from))
	assert.Equal(t, 4, metricsLines(t, back.dir))
	back.shut()

	state, store := inMemory(t), inMemory(t)
	for n, s := range fsys.Crashes() {
		require.NoError(t, s.Write(state, store))
		check(t, state, &history{kept: kept}, 4, func() string { return fmt.Sprintf("after operation %d:\n%s", n, s) })
	}
	r, err = resumed(t, fsys, logs)
	require.NoError(t, err)
	assert.Equal(t, 4, r.state.Step)
	r.shut()
}
