// Package mapped reads files through the memory, and survives what others do to them meanwhile.
//
// Who reads a page of a mapped file that was cut short is sent SIGBUS, which ends a process. Here
// such a page reads as zeros, and [File.Err] says from then on that it happened. It says too if the
// file was written into, which no signal tells. A file that another was renamed over is the one that
// was opened, and whole.
package mapped

/*
#include "sigbus.h"
#cgo noescape goclip_map
#cgo nocallback goclip_map
#cgo nocallback goclip_unmap
#cgo nocallback goclip_map_use
#cgo nocallback goclip_map_lost
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// ErrChanged is what errors.Is finds in the error of a file that is no longer what was opened.
var ErrChanged = errors.New("the file was changed while it was in use")

// File is a mapped file.
type File struct {
	path  string
	file  *os.File
	size  int64
	mtime time.Time
	c     *C.goclip_mapping // nil for an empty file and after Close
	drop  runtime.Cleanup

	mutex  sync.Mutex
	failed error
}

// Open maps a regular file. With write, what is written into its memory stays this process's own.
func Open(path string, write bool) (*File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO is refused, not waited for
	if err != nil {
		return nil, err
	}
	return Of(file, write)
}

// Of maps an open file, which is then the result's to close, also where there is none.
func Of(file *os.File, write bool) (*File, error) {
	f, err := of(file, write)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

func of(file *os.File, write bool) (*File, error) {
	path := file.Name()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory, not a file", path)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f := &File{path: path, file: file, size: info.Size(), mtime: info.ModTime()}
	private := C.int(0)
	if write {
		private = 1
	}
	if f.size > 0 {
		var errno C.int
		if f.c = C.goclip_map(C.int(file.Fd()), C.size_t(f.size), private, &errno); f.c == nil {
			return nil, fmt.Errorf("%s: cannot be mapped: %w", path, syscall.Errno(errno))
		}
		f.drop = runtime.AddCleanup(f, unmap, f.c)
	}
	return f, nil
}

// Again maps the same file once more, whatever has its name by now.
func (f *File) Again(write bool) (*File, error) {
	fd, err := syscall.Dup(int(f.file.Fd()))
	if err != nil {
		return nil, err
	}
	again, err := Of(os.NewFile(uintptr(fd), f.path), write)
	if err != nil {
		return nil, err
	}
	again.size, again.mtime = f.size, f.mtime
	return again, nil
}

// Bytes returns the memory, valid until Close. To write into it takes write in [Open].
func (f *File) Bytes() []byte {
	if f.c == nil {
		return nil
	}
	return unsafe.Slice((*byte)(f.c.memory), f.size)
}

// Err is nil as long as the file is what was opened, by its size and its time of change, and no page
// of it was missing when it was read. What was read before Err returned nil was in the file.
func (f *File) Err() error {
	return f.check(func(info os.FileInfo) error {
		switch {
		case info.Size() != f.size:
			return f.resized(info)
		case !info.ModTime().Equal(f.mtime):
			return fmt.Errorf("%s: %w: something was written into it", f.path, ErrChanged)
		}
		return nil
	})
}

// Missing is Err of a file that others may add to: nil as long as its first n bytes are there.
func (f *File) Missing(n int64) error {
	return f.check(func(info os.FileInfo) error {
		if info.Size() < n {
			return f.resized(info)
		}
		return nil
	})
}

func (f *File) resized(info os.FileInfo) error {
	return fmt.Errorf("%s: %w: it had %d bytes and has %d", f.path, ErrChanged, f.size, info.Size())
}

func (f *File) check(changed func(info os.FileInfo) error) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.failed != nil {
		return f.failed
	}
	info, err := f.file.Stat()
	if err == nil {
		err = changed(info)
	}
	if err == nil && f.c != nil && C.goclip_map_lost(f.c) != 0 {
		err = fmt.Errorf("%s: a part of it could not be read: the disk or the network failed", f.path)
	}
	f.failed = err
	return err
}

// Lend returns the memory for C code, which calls done(context) when it needs it no more: it stays after
// Close until then.
func (f *File) Lend() (memory, done, context unsafe.Pointer) {
	if f.c == nil {
		return nil, nil, nil
	}
	C.goclip_map_use(f.c)
	return f.c.memory, unsafe.Pointer(C.goclip_unmap), unsafe.Pointer(f.c)
}

// Close unmaps the file, as the garbage collector does where nobody calls it.
func (f *File) Close() error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.c != nil {
		f.drop.Stop()
		unmap(f.c)
		f.c = nil
	}
	return f.file.Close()
}

func unmap(c *C.goclip_mapping) { C.goclip_unmap(unsafe.Pointer(c)) }
