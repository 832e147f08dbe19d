package train

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/goclip/goclip/internal/disk"
)

// openDirectory makes LOGS/NAME what the run goes on from: the checkpoint resumed is the latest, and the records end with
// it. Nothing has been written before.
func (r *run) openDirectory(resumed string) (err error) {
	if err := disk.MkdirAll(r.disk, filepath.Join(r.dir, "checkpoints")); err != nil {
		return fmt.Errorf("train: %w", disk.Plain(err))
	}
	if err := r.lockDirectory(); err != nil { // which was not there
		return err
	}
	if err := r.settle(resumed); err != nil { // before the records: they may be longer than the latest checkpoint, not shorter
		return err
	}
	r.saved = time.Now()
	r.records, err = openRecords(r.disk, r.dir, r.o, r.state.Step)
	return err
}

// lockDirectory keeps a second process out of LOGS/NAME, if it is there. The lock goes with the process, however it ends.
func (r *run) lockDirectory() error {
	if r.sitting != nil {
		return nil
	}
	lock := flock.New(r.dir, flock.SetFlag(os.O_RDONLY))
	locked, err := lock.TryLock()
	switch {
	case err == nil && !locked:
		return fmt.Errorf("train: another process trains in %s; wait for its end or give another --name", r.dir)
	case err == nil:
		r.sitting = lock
	}
	return nil // locked, not there yet, or on a file system without locks
}

func (r *run) unlockDirectory() {
	if r.sitting != nil {
		r.sitting.Close()
	}
}
