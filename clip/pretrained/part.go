package pretrained

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// part is a file on its way: TARGET.part, locked by the one who writes it, with TARGET.part.json,
// which tells a later run what the bytes are of.
type part struct {
	file    *os.File
	target  string
	size    int64     // bytes so far
	sum     hash.Hash // of them
	about   about
	resumed bool // some of them came in an earlier request
}

// about is what the server said of the whole file.
type about struct {
	ETag     string `json:"etag,omitempty"` // strong, in its quotes
	Modified string `json:"last_modified,omitempty"`
	Size     int64  `json:"size"`             // -1 if unknown
	SHA256   string `json:"sha256,omitempty"` // from the hub, of a large file
	Git      string `json:"git,omitempty"`    // from the hub, of a small one: SHA-1 as git computes it
	Commit   string `json:"commit,omitempty"` // from the hub
}

// hash is what the hub said of the bytes, or nothing.
func (a about) hash() string { return cmp.Or(a.SHA256, a.Git) }

// lockPoll is how often a waiting process asks for the lock: the file system has no call that waits
// and can be stopped.
const lockPoll = 100 * time.Millisecond

// openPart waits for the lock on target's part and takes up what an earlier run left.
func openPart(ctx context.Context, target string, log func(string)) (*part, error) {
	p := &part{target: target, sum: sha256.New()}
	for waited := false; ; waited = true {
		file, err := os.OpenFile(p.path(), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, diskError(err, p.path())
		}
		held, err := lock(file)
		if err != nil {
			file.Close()
			return nil, diskError(err, p.path())
		}
		if held && sameFile(file, p.path()) {
			p.file = file
			break
		}
		file.Close() // held by another, or finished and renamed between the two calls
		if !held && !waited {
			log(fmt.Sprintf("another process fetches %s: waiting for it", target))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
	if err := p.takeUp(ctx); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// lock takes the file for this process, if no other has it. The kernel gives it back when the
// process ends.
func lock(file *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		default:
			return err == nil, err
		}
	}
}

// sameFile reports whether the name still means the open file.
func sameFile(file *os.File, name string) bool {
	a, errA := file.Stat()
	b, errB := os.Stat(name)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func (p *part) path() string  { return p.target + ".part" }
func (p *part) notes() string { return p.target + ".part.json" }

// takeUp reads the bytes of an earlier run into the hash. Bytes that nothing is known of are
// dropped.
func (p *part) takeUp(ctx context.Context) error {
	info, err := p.file.Stat()
	if err != nil {
		return diskError(err, p.path())
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: delete it", p.path())
	}
	data, err := os.ReadFile(p.notes())
	known := err == nil && json.Unmarshal(data, &p.about) == nil
	if size := info.Size(); !known || size == 0 || p.about.Size > 0 && size > p.about.Size {
		return p.begin(about{Size: -1})
	}
	if err := feed(ctx, p.sum, p.file); err != nil {
		return err
	}
	p.size, p.resumed = info.Size(), true
	return nil
}

// begin drops the bytes so far and notes what the next ones are of. The notes are written first, so
// that bytes never stand beside another file's notes.
func (p *part) begin(a about) error {
	if err := p.file.Truncate(0); err != nil {
		return diskError(err, p.path())
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return diskError(err, p.path())
	}
	p.sum.Reset()
	p.size, p.about, p.resumed = 0, a, false
	if a == (about{Size: -1}) {
		os.Remove(p.notes())
		return nil
	}
	if err := writeJSON(p.notes(), a); err != nil {
		return diskError(err, p.notes())
	}
	return nil
}

func (p *part) write(b []byte) error {
	n, err := p.file.Write(b)
	p.sum.Write(b[:n])
	p.size += int64(n)
	if err != nil {
		return diskError(err, p.path())
	}
	return nil
}

func (p *part) digest() string { return hex.EncodeToString(p.sum.Sum(nil)) }

// commit gives the file its name, once its bytes are on the disk.
func (p *part) commit(ctx context.Context, name string) error {
	synced := make(chan error, 1)
	go func() { synced <- p.file.Sync() }() // gigabytes take a slow disk seconds, and the call cannot be stopped
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-synced:
		if err != nil {
			return diskError(err, p.path())
		}
	}
	if err := os.Rename(p.path(), name); err != nil {
		return diskError(err, name)
	}
	os.Remove(p.notes()) // bytes of the next part replace them in any case
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return diskError(err, name)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // EINVAL: a file system whose directories need none
		return diskError(err, name)
	}
	return nil
}

// drop removes the bytes so far: they are of no use to a later run.
func (p *part) drop() {
	os.Remove(p.notes())
	os.Remove(p.path())
	p.size = 0
}

// close lets others have the part, and leaves nothing where there are no bytes to continue from.
func (p *part) close() {
	if p.size == 0 && sameFile(p.file, p.path()) {
		p.drop()
	}
	p.file.Close()
}

// diskError names the remedy for a cache that cannot be written.
func diskError(err error, path string) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("no room for %s: free some space, or set GOCLIP_CACHE to a directory that has it: %w", path, unwrapPath(err))
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("cannot write %s: set GOCLIP_CACHE to a directory that can be written: %w", path, unwrapPath(err))
	default:
		return fmt.Errorf("%s: %w", path, unwrapPath(err))
	}
}

// unwrapPath takes the system's words out of an error that repeats the path.
func unwrapPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}
