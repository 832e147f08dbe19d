package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/goclip/goclip/internal/disk"
)

// Write makes a safetensors file of the entries, in their order. The file appears whole or not at all.
func Write(path string, entries []Entry, metadata map[string]string) error {
	return WriteFS(disk.Machine{}, path, entries, metadata)
}

// WriteFS is [Write] to a file layer.
func WriteFS(fsys disk.FS, path string, entries []Entry, metadata map[string]string) error {
	header, err := encodeHeader(entries, metadata)
	if err != nil {
		return fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return disk.WriteFile(fsys, path, func(w io.Writer) error {
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
