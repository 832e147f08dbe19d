package train

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/goclip/goclip/internal/disk"
)

// checkpoints are the directories that a run writes under its own, each whole or not there, and
// finds again.
type checkpoints struct {
	disk   disk.FS
	dir    string       // of the run; "" keeps nothing
	locked *flock.Flock // dir
	saved  time.Time    // latest
	safe   int          // the step of the newest checkpoint that was written or resumed; 0: there is none
}

const latest = "latest"

func epochName(epoch int) string { return fmt.Sprintf("epoch_%d", epoch) }

// put makes checkpoints/NAME: write fills a directory of a temporary name, which then takes the
// place of the former one. A crash at any moment leaves the former one or the new one whole, and
// nearly always under its name; find tells.
func (k *checkpoints) put(name string, write func(fsys *summing, dir string) error) (err error) {
	dir := filepath.Join(k.dir, "checkpoints", name)
	fresh := hidden(dir, "tmp")
	defer func() {
		if err != nil {
			err = fmt.Errorf("train: the checkpoint %s was not written: %w", dir, disk.Plain(err))
		}
	}()
	if err := k.remove(fresh); err != nil {
		return err
	}
	fsys := newSumming(k.disk, fresh)
	err = fsys.Mkdir(fresh) // and not its parents: if they have vanished, the disk may be another one
	if err == nil {
		err = write(fsys, fresh)
	}
	if err != nil {
		return errors.Join(err, k.remove(fresh)) // room for others, on a disk that is full
	}
	if err := k.place(fresh, dir); err != nil {
		return err
	}
	if name == latest {
		k.saved = time.Now()
	}
	return nil
}

// place gives the checkpoint fresh, which is safe, the name dir, and removes the one that had it.
// The former one goes only when the name of the new one is safe.
func (k *checkpoints) place(fresh, dir string) error {
	former := fresh
	_, err := os.Lstat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = k.disk.Rename(fresh, dir)
	case err == nil:
		if err = k.disk.Exchange(fresh, dir); errors.Is(err, errors.ErrUnsupported) {
			former = hidden(dir, "old")
			err = k.replace(fresh, dir, former)
		}
	}
	if err != nil {
		return err
	}
	if err := k.disk.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := k.remove(former); err != nil {
		return err
	}
	return k.remove(hidden(dir, "old")) // if a crash left it
}

// replace is Exchange by two renames, between which there is no dir, and fresh and former are the
// checkpoints.
func (k *checkpoints) replace(fresh, dir, former string) error {
	if err := k.remove(former); err != nil {
		return err
	}
	if err := k.disk.Rename(dir, former); err != nil {
		return err
	}
	return k.disk.Rename(fresh, dir)
}

// discard removes a checkpoint that is no longer needed. It loses its name first: a half of it
// is not a checkpoint.
func (k *checkpoints) discard(name string) error {
	dir := filepath.Join(k.dir, "checkpoints", name)
	former := hidden(dir, "old")
	err := k.remove(former)
	if _, gone := os.Lstat(dir); err == nil && gone != nil {
		return nil // as before the first one
	}
	if err == nil {
		err = k.disk.Rename(dir, former)
	}
	if err == nil {
		err = k.disk.SyncDir(filepath.Dir(dir))
	}
	if err == nil {
		err = k.remove(former)
	}
	if err != nil {
		return fmt.Errorf("train: the checkpoint %s was not removed: %w", dir, disk.Plain(err))
	}
	return nil
}

// remove removes what is in the directory of checkpoints, safely gone when it returns: no crash
// brings back a half of it.
func (k *checkpoints) remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := k.disk.RemoveAll(path); err != nil {
		return err
	}
	return k.disk.SyncDir(filepath.Dir(path))
}

// hidden is the name beside dir under which it is written (tmp) and removed (old).
func hidden(dir, as string) string {
	return filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+"."+as)
}

// lockDirectory keeps a second process out of the run's directory, if it is there. The lock goes
// with the process, however it ends.
func (k *checkpoints) lockDirectory() error {
	if k.locked != nil || k.dir == "" {
		return nil
	}
	lock := flock.New(k.dir, flock.SetFlag(os.O_RDONLY))
	locked, err := lock.TryLock()
	switch {
	case err == nil && !locked:
		return fmt.Errorf("train: another process trains in %s; wait for its end or take another directory", k.dir)
	case err == nil:
		k.locked = lock
	}
	return nil // locked, not there yet, or on a file system without locks
}

func (k *checkpoints) unlockDirectory() {
	if k.locked != nil {
		k.locked.Close()
		k.locked = nil
	}
}
