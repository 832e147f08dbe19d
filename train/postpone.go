package train

import (
	"errors"
	"path/filepath"
	"syscall"
	"time"
)

// postponed is a checkpoint that could not be written because the disk was full.
type postponed struct {
	next time.Time     // when to try again; zero: there is none
	wait time.Duration // before that, doubled each time
}

// The waits between two tries to write a checkpoint on a full disk.
const (
	firstWait = time.Minute
	maxWait   = 16 * time.Minute
)

func (p *postponed) due() bool { return !p.next.IsZero() && !time.Now().Before(p.next) }

// later plans the next try, and says when it is.
func (p *postponed) later() time.Duration {
	p.wait = min(max(2*p.wait, firstWait), maxWait)
	p.next = time.Now().Add(p.wait)
	return p.wait
}

// full reports whether a disk, or a quota on it, has no room.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// mayWait reports whether training can continue after a fault: the disk is full, a checkpoint is safe from
// which the run could continue, and steps are left in which room may come.
func (t *Trainer) mayWait(err error) bool {
	return full(err) && t.safe > 0 && t.state.Step < t.total
}

// keep writes a checkpoint of all processes as saveShared does. On a full disk training continues
// while an older checkpoint is safe, and latest is tried again.
func (t *Trainer) keep(name string) error {
	err := t.saveShared(name)
	if err == nil {
		if name == latest {
			t.again = postponed{}
		}
		return nil
	}
	if !t.mayWait(err) {
		return err
	}
	t.watch.logf("WARNING: %v", err)
	t.watch.logf("WARNING: training continues: the checkpoint of step %d is safe, and %s is tried again in %v", t.safe, filepath.Join("checkpoints", latest), t.again.later())
	return nil
}
