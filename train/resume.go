package train

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// findResume is the checkpoint directory that --resume means. As open_clip's, latest without any checkpoint is the
// beginning, dir "": a run that was killed before its first checkpoint is started by the same command line.
//
// latest is checkpoints/latest. Only if that is not whole it is the newest whole one of the others: .latest.tmp and
// .latest.old, which a crash may leave where the system cannot exchange two names, and epoch_N.
func (r *run) findResume() (dir string, err error) {
	if r.o.Resume != latest {
		if err := checkWhole(r.o.Resume); err != nil {
			return "", fmt.Errorf("train: --resume %s: %w", r.o.Resume, err)
		}
		return r.o.Resume, nil
	}
	parent := filepath.Join(r.dir, "checkpoints")
	newest := filepath.Join(parent, latest)
	fault := checkWhole(newest)
	if fault == nil {
		return newest, nil
	}
	others, err := r.otherCheckpoints()
	if errors.Is(fault, os.ErrPermission) {
		err = fault
	}
	if err != nil {
		return "", fmt.Errorf("train: --resume latest: %w", err)
	}
	for _, c := range others {
		if err := checkWhole(c.dir); err == nil {
			r.notes = append(r.notes, fmt.Sprintf("WARNING: %s is not whole: %v; the run continues from %s, after step %d", newest, fault, c.dir, c.step))
			return c.dir, nil
		}
	}
	_, gone := os.Lstat(newest)
	named := func(c candidate) bool { return !strings.HasPrefix(filepath.Base(c.dir), ".") }
	if gone != nil && !slices.ContainsFunc(others, named) { // what a crash left of the first one
		return "", nil
	}
	return "", fmt.Errorf("train: --resume latest: %s holds no whole checkpoint: %w", parent, fault)
}

// candidate is a checkpoint that may be whole.
type candidate struct {
	dir  string
	step int
}

// otherCheckpoints are those of the run besides latest, the newest first.
func (r *run) otherCheckpoints() (list []candidate, err error) {
	parent := filepath.Join(r.dir, "checkpoints")
	newest := filepath.Join(parent, latest)
	entries, err := os.ReadDir(parent)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		dir := filepath.Join(parent, e.Name())
		if dir != hidden(newest, "tmp") && dir != hidden(newest, "old") && !strings.HasPrefix(e.Name(), "epoch_") {
			continue
		}
		s, err := openState(filepath.Join(dir, stateDir, stateFile))
		if errors.Is(err, os.ErrPermission) {
			return nil, err
		}
		list = append(list, candidate{dir, s.Step}) // step 0 of what cannot be read
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return b.step - a.step })
	return list, nil
}

// settle makes the checkpoint from which the run continues checkpoints/latest, if it is another, and removes what a crash
// left half-written. From then on --resume latest means this one.
func (r *run) settle(resumed string) error {
	parent := filepath.Join(r.dir, "checkpoints")
	newest := filepath.Join(parent, latest)
	switch {
	case resumed == newest || resumed == "":
	case resumed == hidden(newest, "tmp"), resumed == hidden(newest, "old"):
		err := r.remove(newest) // which is not whole
		if err == nil {
			err = r.disk.Rename(resumed, newest)
		}
		if err == nil {
			err = r.disk.SyncDir(parent)
		}
		if err != nil {
			return fmt.Errorf("train: --resume: %s did not become %s: %w", resumed, newest, err)
		}
	default:
		if err := r.save(latest); err != nil {
			return err
		}
	}
	for _, pattern := range []string{filepath.Join(parent, ".*.tmp"), filepath.Join(parent, ".*.old"), filepath.Join(r.dir, ".*.tmp")} {
		left, _ := filepath.Glob(escapeGlob(filepath.Dir(pattern)) + "/" + filepath.Base(pattern))
		for _, path := range left {
			if err := r.remove(path); err != nil {
				return fmt.Errorf("train: %w", err)
			}
		}
	}
	return nil
}

// escapeGlob is a path as a pattern that it alone fits.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
