// Package tensorboard writes TensorBoard's event files: scalars that its dashboard draws.
//
// A file is a row of records, each of them its length, a checksum of the length, an event and a checksum of the event
// (tensorflow/core/lib/io/record_writer.cc); an event is a protocol buffer (tensorboard/compat/proto/event.proto).
package tensorboard

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Writer writes one event file. Records are buffered until [Writer.Flush].
type Writer struct {
	file *os.File
	out  *bufio.Writer
	now  func() time.Time
}

// Open begins a file in dir, which it makes. A resumed run gives the first step that it has yet to do: TensorBoard
// then drops what an earlier file of the directory says of that step and later ones. 0 drops nothing.
func Open(dir string, purge int) (*Writer, error) { return open(dir, purge, time.Now) }

func open(dir string, purge int, now func() time.Time) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	began := now() // two files of a second and a process differ by the nanoseconds
	name := fmt.Sprintf("events.out.tfevents.%010d.%s.%d.%d", began.Unix(), host, os.Getpid(), began.Nanosecond())
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	w := &Writer{file: file, out: bufio.NewWriter(file), now: now}
	version := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), "brain.Event:2")
	err = w.event(purge, version)
	if err == nil && purge > 0 {
		start := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1) // SessionLog.START
		err = w.event(purge, message(7, start))
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return w, nil
}

// Scalar adds a point to the curve of a tag, such as "train/loss".
func (w *Writer) Scalar(tag string, step int, value float64) error {
	v := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), tag)
	v = protowire.AppendFixed32(protowire.AppendTag(v, 2, protowire.Fixed32Type), math.Float32bits(float32(value)))
	return w.event(step, message(5, message(1, v))) // Event.summary, Summary.value
}

// Flush hands what was written to the system, where TensorBoard sees it.
func (w *Writer) Flush() error {
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

// Close flushes and closes the file.
func (w *Writer) Close() error { return errors.Join(w.Flush(), w.file.Close()) }

// event writes a record of an event: its time, its step, and what it says, one field of Event.
func (w *Writer) event(step int, what []byte) error {
	seconds := float64(w.now().UnixMicro()) / 1e6
	b := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(seconds))
	if step != 0 {
		b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(step))
	}
	b = append(b, what...)
	record := binary.LittleEndian.AppendUint64(nil, uint64(len(b)))
	record = binary.LittleEndian.AppendUint32(record, masked(record))
	record = append(record, b...)
	record = binary.LittleEndian.AppendUint32(record, masked(b))
	if _, err := w.out.Write(record); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

func message(field protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), body)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the checksum as records hold it, so that the checksum of a record that holds one is no trivial number.
func masked(b []byte) uint32 {
	sum := crc32.Checksum(b, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}
