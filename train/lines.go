package train

import (
	"errors"
	"os"

	"github.com/goclip/goclip/internal/disk"
)

// lines is a file of whole lines. What a full disk does not take waits in memory: no line is lost
// or torn, and Sync fails while any waits.
type lines struct {
	disk.Output
	size    int64 // bytes of the lines in the file
	waiting []byte
}

// maxWaiting bounds what waits, in bytes: some hundred thousand steps.
const maxWaiting = 64 << 20

// inLines makes *f such a file.
func inLines(f *disk.Output) error {
	info, err := os.Stat((*f).Name())
	if err == nil {
		*f = &lines{Output: *f, size: info.Size()}
	}
	return err
}

// Write takes whole lines.
func (l *lines) Write(text []byte) (int, error) {
	l.waiting = append(l.waiting, text...)
	err := l.flush()
	if full(err) && len(l.waiting) < maxWaiting {
		err = nil
	}
	if err != nil {
		return 0, err
	}
	return len(text), nil
}

func (l *lines) flush() error {
	if len(l.waiting) == 0 {
		return nil
	}
	if _, err := l.Output.Write(l.waiting); err != nil {
		return errors.Join(err, l.Output.Truncate(l.size)) // a part of it may be there
	}
	l.size += int64(len(l.waiting))
	l.waiting = l.waiting[:0]
	return nil
}

// Sync makes safe what was written.
func (l *lines) Sync() error {
	if err := l.flush(); err != nil {
		return err
	}
	return l.Output.Sync()
}

// Close drops what still waits: no checkpoint tells of it.
func (l *lines) Close() error {
	err := l.flush()
	if full(err) {
		err = nil
	}
	return errors.Join(err, l.Output.Close())
}
