package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/goclip/goclip/internal/disk"
)

// output is a file that appears under its name only when it is whole: finish writes it to the disk,
// rename gives it the name.
type output struct {
	path string
	fsys disk.FS
	f    disk.Output // nil where there is none, or no more
	w    *bufio.Writer
	err  error
}

func newOutput(fsys disk.FS, path string) *output {
	o := &output{path: path, fsys: fsys}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		o.err = errors.New("it is a directory")
		return o
	}
	o.f, o.err = fsys.CreateTemp(filepath.Dir(path), temporary(filepath.Base(path)))
	if o.err == nil {
		o.w = bufio.NewWriterSize(o.f, 1<<16)
	}
	return o
}

// temporary is the pattern of a file's name before it is whole.
func temporary(name string) string { return "." + name + ".*.tmp" }

// nameOfTemporary is the name that a file of a temporary name was to have.
func nameOfTemporary(name string) (string, bool) {
	inner, ok := strings.CutPrefix(name, ".")
	rest, is := strings.CutSuffix(inner, ".tmp")
	at := strings.LastIndexByte(rest, '.')
	if !ok || !is || at < 0 {
		return "", false
	}
	return rest[:at], true
}

func (o *output) write(p []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(p)
	}
}

// failure tells what went wrong so far, without the temporary name.
func (o *output) failure() error {
	if o.err == nil {
		return nil
	}
	err := o.err
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return fmt.Errorf("%s was not written: %w", o.path, err)
}

func (o *output) finish() error {
	if o.err == nil {
		o.err = o.w.Flush()
	}
	if o.err == nil {
		o.err = o.f.Sync()
	}
	if o.err == nil {
		o.err = o.f.Close()
	}
	return o.failure()
}

func (o *output) rename() error {
	o.err = o.fsys.Rename(o.f.Name(), o.path)
	if o.err == nil {
		o.f = nil
	}
	return o.failure()
}

// sync makes the name safe.
func (o *output) sync() error {
	o.err = o.fsys.SyncDir(filepath.Dir(o.path))
	return o.failure()
}

func (o *output) discard() {
	if o.f != nil {
		_ = o.f.Close()
		_ = o.fsys.RemoveAll(o.f.Name())
		o.f = nil
	}
}

type finisher interface {
	finish() error
	rename() error
	sync() error
	discard()
	failure() error
}

// outputs are the files of one command.
type outputs []finisher

// commit finishes every file before it gives the first its name, so that a full disk leaves the
// former ones. When it returns, a loss of power leaves the new ones.
func (files outputs) commit() error {
	for _, step := range []func(finisher) error{finisher.finish, finisher.rename, finisher.sync} {
		for _, f := range files {
			if err := step(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// discard removes what has no name yet.
func (files *outputs) discard() {
	for _, f := range *files {
		f.discard()
	}
}

// lines is a .jsonl file.
type lines struct{ *output }

func newLines(fsys disk.FS, path string) lines { return lines{newOutput(fsys, path)} }

func (l lines) add(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		l.err = err
	}
	l.write(append(text, '\n'))
}

// npy writes a float32 array (N, D) in NumPy's format (numpy.lib.format, version 1.0) row by row,
// since N is known only at the end: the header has a fixed length and is written again then.
type npy struct {
	*output
	rows, width int
}

const npyHeader = 128

func newNpy(fsys disk.FS, path string, width int) *npy {
	n := &npy{output: newOutput(fsys, path), width: width}
	n.write(n.header())
	return n
}

func (n *npy) header() []byte {
	text := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", n.rows, n.width)
	text += strings.Repeat(" ", npyHeader-10-1-len(text)) + "\n"
	return append([]byte("\x93NUMPY\x01\x00\x76\x00"), text...)
}

func (n *npy) row(values []float32) {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	n.write(b)
	n.rows++
}

func (n *npy) finish() error {
	if n.err == nil {
		n.err = n.w.Flush()
	}
	if n.err == nil {
		_, n.err = n.f.WriteAt(n.header(), 0)
	}
	return n.output.finish()
}

// metadata is a row of a part's Parquet file. image_path and caption have clip-retrieval's names
// (clip_inference/writer.py), so that what reads its files reads these.
type metadata struct {
	Row       int64  `parquet:"row"`                 // of the part's arrays
	ImagePath string `parquet:"image_path,optional"` // or SHARD:KEY
	Caption   string `parquet:"caption,optional"`
	Width     int32  `parquet:"width,optional"` // of the file's image, in pixels
	Height    int32  `parquet:"height,optional"`
}

// metadataRows are what the writer holds in memory before it writes them.
const metadataRows = 1 << 16

// metadataFile is a .parquet file of metadata.
type metadataFile struct {
	*output
	rows *parquet.GenericWriter[metadata]
}

func newMetadata(fsys disk.FS, path string) *metadataFile {
	f := &metadataFile{output: newOutput(fsys, path)}
	if f.err == nil {
		f.rows = parquet.NewGenericWriter[metadata](f.w, parquet.Compression(&parquet.Snappy), parquet.MaxRowsPerRowGroup(metadataRows))
	}
	return f
}

// add writes a row. Parquet's texts are UTF-8; the names of files may be anything.
func (f *metadataFile) add(row metadata) {
	if f.err != nil {
		return
	}
	row.ImagePath, row.Caption = strings.ToValidUTF8(row.ImagePath, "\ufffd"), strings.ToValidUTF8(row.Caption, "\ufffd")
	_, f.err = f.rows.Write([]metadata{row})
}

func (f *metadataFile) finish() error {
	if f.err == nil {
		f.err = f.rows.Close()
	}
	return f.output.finish()
}
