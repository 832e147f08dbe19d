package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// maxHeader is the limit of the reference implementation (safetensors/src/tensor.rs, MAX_HEADER_SIZE).
const maxHeader = 100_000_000

// File is a safetensors file, mapped read-only.
type File struct {
	path     string
	mapped   []byte
	names    []string // by offset
	entries  map[string]Entry
	metadata map[string]string
}

// Open maps and checks the file.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("checkpoint: %s is a directory, not a safetensors file", path)
	}
	if info.Size() < 8 {
		return nil, fmt.Errorf("checkpoint: %s: %d bytes are too few for a safetensors file", path, info.Size())
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: cannot be mapped: %w", path, err)
	}
	file, err := Parse(path, mapped)
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(mapped))
	}
	file.mapped = mapped
	return file, nil
}

// Parse checks a file that is already in memory; path stands in its errors.
func Parse(path string, data []byte) (*File, error) {
	f := &File{path: path, entries: map[string]Entry{}}
	if err := f.parse(data); err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return f, nil
}

// Close unmaps the file: no Entry's data may be used after it.
func (f *File) Close() error {
	mapped := f.mapped
	f.mapped, f.entries, f.names = nil, nil, nil
	if mapped == nil {
		return nil
	}
	return unix.Munmap(mapped)
}

// Metadata is the header's free-form strings.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Names lists the tensors in the order of their data.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Entry finds a tensor by name.
func (f *File) Entry(name string) (Entry, bool) {
	e, ok := f.entries[name]
	return e, ok
}

type headerEntry struct {
	DType   DType    `json:"dtype"`
	Shape   []int64  `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

func (f *File) parse(data []byte) error {
	if len(data) < 8 {
		return fmt.Errorf("%d bytes are too few for a safetensors file", len(data))
	}
	size := binary.LittleEndian.Uint64(data)
	if size > maxHeader {
		return fmt.Errorf("a header of %d bytes is over the limit of %d: this is no safetensors file", size, maxHeader)
	}
	if size > uint64(len(data)-8) {
		return fmt.Errorf("the header of %d bytes goes beyond the end of the file: it is cut off", size)
	}
	body := data[8+size:]
	headers, err := f.decodeHeader(data[8 : 8+size])
	if err != nil {
		return err
	}
	for name, h := range headers {
		e, err := h.entry(name, body)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		f.entries[name] = e
	}
	f.names = slices.SortedFunc(maps.Keys(headers), func(a, b string) int {
		x, y := headers[a].Offsets, headers[b].Offsets
		if c := slices.Compare(x[:], y[:]); c != 0 {
			return c
		}
		return bytes.Compare([]byte(a), []byte(b))
	})
	end := int64(0)
	for _, name := range f.names {
		o := headers[name].Offsets
		if o[0] != end {
			return fmt.Errorf("tensor %q: its data begins at %d, where the data before it ends at %d", name, o[0], end)
		}
		end = o[1]
	}
	if end != int64(len(body)) {
		return fmt.Errorf("%d bytes follow the last tensor", int64(len(body))-end)
	}
	return nil
}

// decodeHeader reads the JSON object key by key, since encoding/json would let a later duplicate win.
func (f *File) decodeHeader(text []byte) (map[string]headerEntry, error) {
	malformed := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends too early")
		}
		return fmt.Errorf("the header is not the JSON of a safetensors file: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil {
		return nil, malformed(err)
	} else if t != json.Delim('{') {
		return nil, malformed(errors.New("it is no object"))
	}
	headers := map[string]headerEntry{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, malformed(err)
		}
		name := t.(string) // the decoder lets nothing else stand for a key
		if name == "__metadata__" {
			if err := d.Decode(&f.metadata); err != nil {
				return nil, malformed(err)
			}
			continue
		}
		if _, twice := headers[name]; twice {
			return nil, fmt.Errorf("tensor %q: it is listed twice", name)
		}
		var h headerEntry
		if err := d.Decode(&h); err != nil {
			return nil, malformed(fmt.Errorf("tensor %q: %w", name, err))
		}
		headers[name] = h
	}
	if _, err := d.Token(); err != nil {
		return nil, malformed(err)
	}
	if rest := bytes.TrimSpace(text[d.InputOffset():]); len(rest) != 0 {
		return nil, malformed(errors.New("something follows the object"))
	}
	return headers, nil
}

func (h headerEntry) entry(name string, body []byte) (Entry, error) {
	size := h.DType.Size()
	if size == 0 {
		return Entry{}, fmt.Errorf("its type %q is none of F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL", h.DType)
	}
	e := Entry{Name: name, DType: h.DType, Shape: make([]int, len(h.Shape))}
	bytes := int64(size)
	for i, n := range h.Shape {
		if n < 0 {
			return Entry{}, fmt.Errorf("its shape %v has a negative size", h.Shape)
		}
		if n != 0 && bytes > math.MaxInt64/n {
			return Entry{}, fmt.Errorf("its shape %v is too large", h.Shape)
		}
		bytes *= n
		e.Shape[i] = int(n)
	}
	from, to := h.Offsets[0], h.Offsets[1]
	if from < 0 || to < from || to > int64(len(body)) {
		return Entry{}, fmt.Errorf("its data at [%d, %d) lies outside the file's %d bytes of data: the file is cut off or corrupt", from, to, len(body))
	}
	if to-from != bytes {
		return Entry{}, fmt.Errorf("%s of shape %v takes %d bytes, not %d", h.DType, h.Shape, bytes, to-from)
	}
	e.Data = body[from:to:to]
	return e, nil
}
