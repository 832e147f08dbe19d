package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// find is the checkpoint that where names: itself or, if it is a run's directory, the latest.
// That is checkpoints/latest. Only if that is not whole it is the newest whole one of the others,
// and note says so: .latest.tmp and .latest.old, which a crash may leave where the system cannot
// exchange two names, and epoch_N. "" is a run without any.
func (k *checkpoints) find(where string) (dir, note string, err error) {
	if filepath.Clean(where) != k.dir {
		return k.findElsewhere(where)
	}
	parent := filepath.Join(k.dir, "checkpoints")
	newest := filepath.Join(parent, latest)
	fault := checkWhole(newest)
	if fault == nil {
		return newest, "", nil
	}
	others, err := k.otherCheckpoints()
	if errors.Is(fault, os.ErrPermission) {
		err = fault
	}
	if err != nil {
		return "", "", err
	}
	for _, c := range others {
		if err := checkWhole(c.dir); err == nil {
			return c.dir, fmt.Sprintf("WARNING: %s is not whole: %v; the run continues from %s, after step %d", newest, fault, c.dir, c.step), nil
		}
	}
	_, gone := os.Lstat(newest)
	named := func(c candidate) bool { return !strings.HasPrefix(filepath.Base(c.dir), ".") }
	if gone != nil && !slices.ContainsFunc(others, named) { // what a crash left of the first one
		return "", "", nil
	}
	return "", "", fmt.Errorf("%s holds no whole checkpoint: %w", parent, fault)
}

// Settings returns the JSON of Config.Settings in the checkpoint that [Resume] of dir starts from; nil
// if there is no checkpoint, or if it has none. It does not look whether the checkpoint is whole.
func Settings(dir string) (json.RawMessage, error) {
	at := []string{dir, filepath.Join(dir, "checkpoints", latest)}
	others, err := (&checkpoints{dir: filepath.Clean(dir)}).otherCheckpoints()
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	for _, c := range others {
		at = append(at, c.dir)
	}
	for _, checkpoint := range at {
		if s, err := openState(filepath.Join(checkpoint, stateDir, stateFile)); err == nil {
			return s.Options, nil
		}
	}
	return nil, nil
}

// candidate is a checkpoint that may be whole.
type candidate struct {
	dir  string
	step int
}

// otherCheckpoints are those of the run besides latest, the newest first.
func (k *checkpoints) otherCheckpoints() (list []candidate, err error) {
	parent := filepath.Join(k.dir, "checkpoints")
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

// settle makes the checkpoint from which the run continues checkpoints/latest, if it is another,
// and removes what a crash left half-written. From then on the latest is this one; again writes it
// again.
func (k *checkpoints) settle(resumed string, again func() error) error {
	parent := filepath.Join(k.dir, "checkpoints")
	newest := filepath.Join(parent, latest)
	switch {
	case resumed == newest || resumed == "":
	case resumed == hidden(newest, "tmp"), resumed == hidden(newest, "old"):
		err := k.remove(newest) // which is not whole
		if err == nil {
			err = k.disk.Rename(resumed, newest)
		}
		if err == nil {
			err = k.disk.SyncDir(parent)
		}
		if err != nil {
			return fmt.Errorf("train: %s did not become %s: %w", resumed, newest, err)
		}
	default:
		if err := again(); err != nil {
			return err
		}
	}
	for _, pattern := range []string{filepath.Join(parent, ".*.tmp"), filepath.Join(parent, ".*.old"), filepath.Join(k.dir, ".*.*.tmp")} {
		left, _ := filepath.Glob(escapeGlob(filepath.Dir(pattern)) + "/" + filepath.Base(pattern))
		for _, path := range left {
			if info, err := os.Lstat(path); filepath.Dir(path) != parent && (err != nil || !info.Mode().IsRegular()) {
				continue // the run's own are files
			}
			if err := k.remove(path); err != nil {
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
