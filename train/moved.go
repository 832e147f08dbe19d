package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/disk"
)

// findElsewhere is the checkpoint that where names, which is not this run's directory: a checkpoint,
// or the latest of another run.
func (k *checkpoints) findElsewhere(where string) (dir, note string, err error) {
	if _, err := os.Stat(filepath.Join(where, "checkpoints")); err != nil {
		return where, "", checkWhole(where)
	}
	other := &checkpoints{disk: k.disk, dir: filepath.Clean(where)}
	dir, note, err = other.find(other.dir)
	if err == nil && dir == "" {
		err = errors.New("it holds no checkpoint yet")
	}
	return dir, note, err
}

// runOf is the directory of the run that wrote a checkpoint.
func runOf(checkpoint string) string { return filepath.Dir(parentOf(checkpoint)) }

// parentOf is the directory that a checkpoint is in: of "latest" and "." the working directory and the one above.
func parentOf(checkpoint string) string {
	if abs, err := filepath.Abs(checkpoint); err == nil {
		checkpoint = abs
	}
	return filepath.Dir(filepath.Clean(checkpoint))
}

// moved reports that a run resumes in another directory than its checkpoint's.
func (k *checkpoints) moved(checkpoint string) bool {
	if checkpoint == "" || k.dir == "" {
		return false
	}
	here, err := os.Stat(k.dir)
	if err != nil {
		return true // not there yet
	}
	there, err := os.Stat(runOf(checkpoint))
	return err != nil || !os.SameFile(here, there)
}

// checkRoom refuses to resume from another run's checkpoint where a run has checkpoints of its own.
func (t *Trainer) checkRoom(checkpoint string) error {
	if !t.moved(checkpoint) {
		return nil
	}
	if own, _, err := t.find(t.dir); own != "" || err != nil {
		return t.c.errorf("{resume} %s: %s holds a run of its own; give another {Dir} to resume in", checkpoint, t.dir)
	}
	return nil
}

// moveIn brings what the run wrote beside the checkpoint that it resumes from: the lines of its
// steps and evaluations, and the weights that WiseFT needs at the end.
func (t *Trainer) moveIn(checkpoint string) error {
	from := runOf(checkpoint)
	for _, name := range []string{"metrics.jsonl", "results.jsonl"} {
		if err := copyFile(t.disk, filepath.Join(from, name), filepath.Join(t.dir, name)); err != nil {
			return fmt.Errorf("train: %w", disk.Plain(err))
		}
	}
	if t.c.WiseFT == 0 || t.state.Step == 0 {
		return nil
	}
	start, err := clip.Open(context.Background(), filepath.Join(from, "checkpoints", startDir), nil)
	if err != nil {
		return t.c.errorf("{WiseFT}: the weights that the run began with cannot be read: %w", err)
	}
	defer freeWeights(start)
	return t.saveModel(startDir, start)
}

// copyFile copies a file that is there.
func copyFile(fsys disk.FS, from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	return disk.WriteFile(fsys, to, func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	})
}
