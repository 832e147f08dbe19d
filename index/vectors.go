package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/index/scan"
	"github.com/goclip/goclip/internal/disk"
)

const (
	headerSize = 64
	maxDim     = 1 << 16
	maxRows    = 1 << 31
)

// layout is a kind of file of rows. Its header says what it is and how long a row is; rows begin at
// a multiple of 64 bytes.
type layout struct {
	name, magic string
	rowSize     func(dim int) int // bytes
}

var (
	singles = layout{"vectors-%d.f32", "goclip vectors 1", func(dim int) int { return 4 * dim }}
	halves  = layout{"vectors-%d.f16", "goclip halves  1", func(dim int) int { return 2 * dim }}
	codes   = layout{"codes-%d.i8", "goclip codes   1", scan.Size} // of the vectors, row by row
)

// vectors is how an index of the model keeps its vectors.
func (m Model) vectors() layout {
	if m.Half {
		return halves
	}
	return singles
}

func (l layout) path(dir string, file int) string {
	return filepath.Join(dir, fmt.Sprintf(l.name, file))
}

func (l layout) header(dim int) []byte {
	h := make([]byte, headerSize)
	copy(h, l.magic)
	binary.LittleEndian.PutUint32(h[len(l.magic):], uint32(dim))
	return h
}

func (l layout) size(rows, dim int) int64 { return headerSize + int64(rows)*int64(l.rowSize(dim)) }

// create makes a file whose name and header are safe when it returns; write adds rows to it.
func (l layout) create(fsys disk.FS, path string, dim int, write func(io.Writer) error) error {
	return disk.WriteFile(fsys, path, func(w io.Writer) error {
		if _, err := w.Write(l.header(dim)); err != nil || write == nil {
			return err
		}
		return write(w)
	})
}

// check compares a file with what the database says of it.
func (l layout) check(path string, rows, dim int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return l.checkFile(f, rows, dim)
}

func (l layout) checkFile(f *os.File, rows, dim int) error {
	h := make([]byte, headerSize)
	_, err := io.ReadFull(f, h)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && string(h) != string(l.header(dim)) {
		return damaged(f.Name(), "it does not begin as a file of vectors of %d numbers", dim)
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < l.size(rows, dim) {
		return damaged(f.Name(), "%d images take %d bytes and it has %d", rows, l.size(rows, dim), info.Size())
	}
	return err
}

// ErrDamaged is inside the errors of an index whose files do not hold what they did.
var ErrDamaged = errors.New("the index is damaged and must be rebuilt")

func damaged(path, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", path, fmt.Sprintf(format, args...), ErrDamaged)
}

// appender writes rows at the end of the files of vectors and of their codes.
type appender struct {
	vectors, codes rowsFile
	half           bool
}

// rowsFile is the end of a file.
type rowsFile struct {
	out  disk.Output
	data []byte // not yet written
}

// openAppender cuts off what is beyond the rows that the database knows.
func openAppender(fsys disk.FS, dir string, st state) (a *appender, err error) {
	a = &appender{half: st.model.Half}
	if a.vectors.out, err = st.model.vectors().append(fsys, dir, st); err == nil {
		a.codes.out, err = codes.append(fsys, dir, st)
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (l layout) append(fsys disk.FS, dir string, st state) (disk.Output, error) {
	path, size := l.path(dir, st.file), l.size(st.rows, st.model.EmbedDim)
	if err := l.check(path, st.rows, st.model.EmbedDim); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	out, err := fsys.Append(path)
	if err == nil && info.Size() > size {
		if err := out.Truncate(size); err != nil {
			return nil, errors.Join(err, out.Close())
		}
	}
	return out, err
}

// add takes a row and gives its checksum.
func (a *appender) add(row []float32) uint32 {
	from := len(a.vectors.data)
	if a.half {
		a.vectors.data, row = appendHalf(a.vectors.data, row)
	} else {
		for _, x := range row {
			a.vectors.data = binary.LittleEndian.AppendUint32(a.vectors.data, math.Float32bits(x))
		}
	}
	a.codes.data = scan.Append(a.codes.data, row)
	return checksum(a.vectors.data[from:])
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(row []byte) uint32 { return crc32.Checksum(row, castagnoli) }

// sync returns when the rows are on the disk.
func (a *appender) sync() error {
	for _, f := range []*rowsFile{&a.vectors, &a.codes} {
		if len(f.data) == 0 {
			continue
		}
		if _, err := f.out.Write(f.data); err != nil {
			return err
		}
		f.data = f.data[:0]
		if err := f.out.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func (a *appender) close() error {
	var errs []error
	for _, f := range []rowsFile{a.vectors, a.codes} {
		if f.out != nil {
			errs = append(errs, f.out.Close())
		}
	}
	return errors.Join(errs...)
}
