package checkpoint

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
)

// Write makes a safetensors file of the entries, in their order. The file appears whole or not at all.
func Write(path string, entries []Entry, metadata map[string]string) error {
	return WriteFS(Disk{}, path, entries, metadata)
}

// WriteFS is [Write] to a file layer.
func WriteFS(fsys FS, path string, entries []Entry, metadata map[string]string) error {
	header, err := encodeHeader(entries, metadata)
	if err != nil {
		return fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return WriteFileFS(fsys, path, func(w io.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		for _, e := range entries {
			if err := e.write(w); err != nil {
				return err
			}
		}
		return nil
	})
}

// WriteFile writes a file of any kind atomically: to a temporary name beside it, to the disk, and then renamed. On
// failure nothing is left behind and a former file stays as it was.
func WriteFile(path string, write func(io.Writer) error) error {
	return WriteFileFS(Disk{}, path, write)
}

// WriteFileFS is [WriteFile] to a file layer.
func WriteFileFS(fsys FS, path string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := fsys.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("checkpoint: %s was not written: %w", path, Plain(err))
	}
	defer func() {
		if err != nil {
			_ = fsys.RemoveAll(f.Name())
			err = fmt.Errorf("checkpoint: %s was not written: %w", path, Plain(err))
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = fsys.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// Plain says a full disk in words, once.
func Plain(err error) error {
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG) || errors.Is(err, syscall.EDQUOT)
	if full && !strings.Contains(err.Error(), "the disk is full") {
		return fmt.Errorf("the disk is full: %w", err)
	}
	return err
}

func encodeHeader(entries []Entry, metadata map[string]string) ([]byte, error) {
	fields := map[string]any{}
	if len(metadata) > 0 {
		fields["__metadata__"] = metadata
	}
	offset := int64(0)
	for _, e := range entries {
		if _, twice := fields[e.Name]; twice {
			return nil, fmt.Errorf("tensor %q is given twice", e.Name)
		}
		h := headerEntry{DType: e.DType, Shape: make([]int64, len(e.Shape)), Offsets: [2]int64{offset, offset + int64(e.size())}}
		elements := int64(e.DType.Size())
		for i, n := range e.Shape {
			h.Shape[i] = int64(n)
			elements *= int64(n)
		}
		if elements != int64(e.size()) {
			return nil, fmt.Errorf("tensor %q: %s of shape %v takes %d bytes, not %d", e.Name, e.DType, e.Shape, elements, e.size())
		}
		offset += int64(e.size())
		fields[e.Name] = h
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	for len(text)%8 != 0 { // as the reference implementation: the data is then aligned
		text = append(text, ' ')
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), nil
}
