package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

const (
	maxHeader = 100_000_000 // the limit of the reference implementation (safetensors/src/tensor.rs, MAX_HEADER_SIZE)

	// JSON unfolds in memory: what one tensor and the free-form strings may take of the header.
	maxHeaderEntry = 1 << 12
	maxMetadata    = 1 << 22
)

type headerEntry struct {
	DType   DType    `json:"dtype"`
	Shape   []int64  `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

func (f *File) parseSafetensors(data []byte) error {
	if len(data) < 8 {
		return fmt.Errorf("%d bytes are too few for a file of weights", len(data))
	}
	size := binary.LittleEndian.Uint64(data)
	if size > maxHeader {
		return fmt.Errorf("it is neither a safetensors file, whose header of %d bytes would be over the limit of %d, nor one of torch.save", size, maxHeader)
	}
	if size > uint64(len(data)-8) {
		return fmt.Errorf("the header of %d bytes goes beyond the end of the file: it is cut off", size)
	}
	body := data[8+size:]
	headers, err := f.decodeHeader(data[8 : 8+size])
	if err != nil {
		return err
	}
	names := slices.SortedFunc(maps.Keys(headers), func(a, b string) int {
		x, y := headers[a].Offsets, headers[b].Offsets
		return cmp.Or(slices.Compare(x[:], y[:]), cmp.Compare(a, b))
	})
	end := int64(0)
	for _, name := range names {
		h := headers[name]
		e, err := h.entry(name, body)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		if h.Offsets[0] != end {
			return fmt.Errorf("tensor %q: its data begins at %d, where the data before it ends at %d", name, h.Offsets[0], end)
		}
		end = h.Offsets[1]
		if err := f.add(e); err != nil {
			return err
		}
	}
	if end != int64(len(body)) {
		return fmt.Errorf("%d bytes follow the last tensor", int64(len(body))-end)
	}
	return nil
}

// decodeHeader reads the JSON object key by key, since encoding/json would let a later duplicate win.
func (f *File) decodeHeader(text []byte) (map[string]headerEntry, error) {
	headers := map[string]headerEntry{}
	err := eachField(text, func(name string, d *json.Decoder) error {
		if name == "__metadata__" {
			if f.metadata != nil {
				return errors.New("__metadata__ is listed twice")
			}
			return decodeBounded(d, &f.metadata, maxMetadata)
		}
		if _, twice := headers[name]; twice {
			return fmt.Errorf("tensor %q: it is listed twice", name)
		}
		if len(headers) == maxTensors {
			return fmt.Errorf("it lists more than %d tensors", maxTensors)
		}
		var h headerEntry
		if err := decodeBounded(d, &h, maxHeaderEntry); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		headers[name] = h
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the header is not the JSON of a safetensors file: %w", err)
	}
	return headers, nil
}

// eachField calls field for every key of the JSON object text, with the decoder before the value.
func eachField(text []byte, field func(name string, d *json.Decoder) error) error {
	early := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("it ends too early")
		}
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil {
		return early(err)
	} else if t != json.Delim('{') {
		return errors.New("it is not an object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return early(err)
		}
		if err := field(t.(string), d); err != nil { // the decoder lets nothing but a string stand for a key
			return early(err)
		}
	}
	if _, err := d.Token(); err != nil {
		return early(err)
	}
	if rest := bytes.TrimSpace(text[d.InputOffset():]); len(rest) != 0 {
		return errors.New("something follows the object")
	}
	return nil
}

// decodeBounded decodes the next value if its text is no longer than limit.
func decodeBounded(d *json.Decoder, to any, limit int) error {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return err
	}
	if len(raw) > limit {
		return fmt.Errorf("its JSON of %d bytes is over the limit of %d", len(raw), limit)
	}
	return json.Unmarshal(raw, to)
}

func (h headerEntry) entry(name string, body []byte) (Entry, error) {
	size := h.DType.Size()
	if size == 0 {
		return Entry{}, fmt.Errorf("its type %q: must be one of F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL", h.DType)
	}
	e := Entry{Name: name, DType: h.DType, Shape: make([]int, len(h.Shape))}
	for i, n := range h.Shape {
		e.Shape[i] = int(n)
	}
	bytes, err := sizeOf(h.Shape, int64(size))
	if err != nil {
		return Entry{}, err
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
