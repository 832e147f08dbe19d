package train

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
)

// save writes checkpoints/NAME: into a directory of a temporary name, which then takes the place of the former one. A
// crash at any moment leaves the former one or the new one whole, and nearly always under its name; findResume tells.
func (r *run) save(name string) (err error) {
	dir := filepath.Join(r.dir, "checkpoints", name)
	fresh := hidden(dir, "tmp")
	defer func() {
		if err != nil {
			err = fmt.Errorf("train: the checkpoint %s was not written: %w", dir, disk.Plain(err))
		}
	}()
	if err := r.restoreWeights(); err != nil {
		return err
	}
	if r.records != nil {
		if err := r.records.sync(); err != nil { // a checkpoint has the lines of its steps
			return err
		}
	}
	if err := r.remove(fresh); err != nil {
		return err
	}
	if err := r.write(fresh); err != nil {
		return errors.Join(err, r.remove(fresh)) // room for others, on a disk that is full
	}
	if err := r.place(fresh, dir); err != nil {
		return err
	}
	if name == latest {
		r.saved = time.Now()
	}
	return nil
}

// write makes the directory of a checkpoint, state.json last, which is why it has the others' sums.
func (r *run) write(dir string) error {
	fsys := newSumming(r.disk, dir)
	if err := fsys.Mkdir(dir); err != nil { // and not its parents: if they have vanished, the disk may be another one
		return err
	}
	if err := r.model.SaveAs(dir, &clip.SaveOptions{FS: fsys}); err != nil {
		return err
	}
	if err := r.saveTuned(fsys, dir); err != nil {
		return err
	}
	return r.saveState(fsys, filepath.Join(dir, stateDir))
}

// place gives the checkpoint fresh, which is safe, the name dir, and removes the one that had it. The former one goes
// only when the name of the new one is safe.
func (r *run) place(fresh, dir string) error {
	former := fresh
	_, err := os.Lstat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = r.disk.Rename(fresh, dir)
	case err == nil:
		if err = r.disk.Exchange(fresh, dir); errors.Is(err, errors.ErrUnsupported) {
			former = hidden(dir, "old")
			err = r.replace(fresh, dir, former)
		}
	}
	if err != nil {
		return err
	}
	if err := r.disk.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := r.remove(former); err != nil {
		return err
	}
	return r.remove(hidden(dir, "old")) // if a crash left it
}

// replace is Exchange by two renames, between which there is no dir, and fresh and former are the checkpoints.
func (r *run) replace(fresh, dir, former string) error {
	if err := r.remove(former); err != nil {
		return err
	}
	if err := r.disk.Rename(dir, former); err != nil {
		return err
	}
	return r.disk.Rename(fresh, dir)
}

// discard removes a checkpoint that is not wanted any more. It loses its name first: a half of it is no checkpoint.
func (r *run) discard(name string) error {
	dir := filepath.Join(r.dir, "checkpoints", name)
	former := hidden(dir, "old")
	err := r.remove(former)
	if _, gone := os.Lstat(dir); err == nil && gone != nil {
		return nil // as before the first one
	}
	if err == nil {
		err = r.disk.Rename(dir, former)
	}
	if err == nil {
		err = r.disk.SyncDir(filepath.Dir(dir))
	}
	if err == nil {
		err = r.remove(former)
	}
	if err != nil {
		return fmt.Errorf("train: the checkpoint %s was not removed: %w", dir, disk.Plain(err))
	}
	return nil
}

// remove removes what is in the directory of checkpoints, safely gone when it returns: no crash brings back a half of it.
func (r *run) remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := r.disk.RemoveAll(path); err != nil {
		return err
	}
	return r.disk.SyncDir(filepath.Dir(path))
}

// hidden is the name beside dir under which it is written (tmp) and removed (old).
func hidden(dir, as string) string {
	return filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+"."+as)
}

// saveEpoch writes the checkpoint that keeps its epoch's name. The one before it goes when this one is safe.
func (r *run) saveEpoch() error {
	if err := r.saveShared(epochName(r.state.Epoch)); err != nil {
		return err
	}
	if r.o.DeletePrev && r.first() {
		return r.discard(epochName(r.state.Epoch - r.o.SaveFrequency))
	}
	return nil
}

func epochName(epoch int) string { return fmt.Sprintf("epoch_%d", epoch) }

// betweenDue tells whether checkpoints/latest is to be written in the middle of an epoch after the step that begins, so that a
// kill costs minutes and not the epoch.
func (r *run) betweenDue() bool {
	steps, minutes := r.o.SaveEverySteps, time.Duration(r.o.SaveEveryMinutes*float64(time.Minute))
	return r.first() && (steps > 0 && (r.state.Step+1)%steps == 0 || minutes > 0 && time.Since(r.saved) >= minutes)
}

// saveShared writes a checkpoint of all processes: rank 0 has the weights, which are the same everywhere, and each has a
// generator of its own.
func (r *run) saveShared(name string) (err error) {
	if r.state.RNG, err = r.group.Exchange(torch.RNGState(r.device)); err != nil || !r.first() {
		return err
	}
	return r.save(name)
}
