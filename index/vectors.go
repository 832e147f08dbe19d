package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
)

// The header of a file of vectors: what it is, and how long a row is. Rows begin at a multiple of
// 64 bytes.
const (
	headerSize = 64
	magic      = "goclip vectors 1"
	mostDim    = 1 << 16
	mostRows   = 1 << 31
)

func vectorsPath(dir string, file int) string {
	return filepath.Join(dir, fmt.Sprintf("vectors-%d.f32", file))
}

func header(dim int) []byte {
	h := make([]byte, headerSize)
	copy(h, magic)
	binary.LittleEndian.PutUint32(h[len(magic):], uint32(dim))
	return h
}

func sizeOf(rows, dim int) int64 { return headerSize + int64(rows)*int64(dim)*4 }

// createVectors makes a file whose name and header are safe when it returns; write adds rows to it.
func createVectors(fsys disk.FS, path string, dim int, write func(io.Writer) error) error {
	return disk.WriteFile(fsys, path, func(w io.Writer) error {
		if _, err := w.Write(header(dim)); err != nil || write == nil {
			return err
		}
		return write(w)
	})
}

// checkVectors compares a file with what the database says of it.
func checkVectors(path string, rows, dim int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := make([]byte, headerSize)
	_, err = io.ReadFull(f, h)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && string(h) != string(header(dim)) {
		return damaged(path, "it does not begin as a file of vectors of %d numbers", dim)
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < sizeOf(rows, dim) {
		return damaged(path, "%d pictures take %d bytes and it has %d", rows, sizeOf(rows, dim), info.Size())
	}
	return err
}

// ErrDamaged is inside the errors of an index whose files do not hold what they did.
var ErrDamaged = errors.New("the index is damaged and must be rebuilt")

func damaged(path, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", path, fmt.Sprintf(format, args...), ErrDamaged)
}

// appender writes rows at the end of a file of vectors.
type appender struct {
	out  disk.Output
	data []byte // not yet written
}

// openAppender cuts off what is beyond the rows that the database knows.
func openAppender(fsys disk.FS, path string, rows, dim int) (*appender, error) {
	if err := checkVectors(path, rows, dim); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	out, err := fsys.Append(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > sizeOf(rows, dim) {
		if err := out.Truncate(sizeOf(rows, dim)); err != nil {
			return nil, errors.Join(err, out.Close())
		}
	}
	return &appender{out: out}, nil
}

// add takes a row and gives its checksum.
func (a *appender) add(row []float32) uint32 {
	from := len(a.data)
	for _, x := range row {
		a.data = binary.LittleEndian.AppendUint32(a.data, math.Float32bits(x))
	}
	return checksum(a.data[from:])
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(row []byte) uint32 { return crc32.Checksum(row, castagnoli) }

// sync returns when the rows are on the disk.
func (a *appender) sync() error {
	if _, err := a.out.Write(a.data); err != nil {
		return err
	}
	a.data = a.data[:0]
	return a.out.Sync()
}

// mapping is the rows of a file of vectors, mapped. It is released as often as it was made and
// retained.
type mapping struct {
	path string
	rows *torch.Tensor // (rows, dim); nil without rows
	all  *torch.Tensor
	n    int
	dim  int
	near near // the engine's copy; nil for the exact search
	refs int  // guarded by the Index's mu
}

func mapVectors(path string, rows, dim int) (*mapping, error) {
	if err := checkVectors(path, rows, dim); err != nil {
		return nil, err
	}
	m := &mapping{path: path, n: rows, dim: dim, refs: 1}
	if rows == 0 {
		return m, nil
	}
	var err error
	if m.all, err = torch.FromFile(path, headerSize/4+rows*dim); err != nil {
		if _, gone := os.Stat(path); errors.Is(gone, fs.ErrNotExist) {
			return nil, gone
		}
		return nil, fmt.Errorf("%s cannot be mapped: %w", path, err)
	}
	err = torch.NoGrad(func(s *torch.Scope) {
		m.rows = s.Alias(m.all).Narrow(0, headerSize/4, rows*dim).View(rows, dim).Keep()
	})
	if err != nil {
		m.free()
		return nil, err
	}
	return m, nil
}

func (m *mapping) free() {
	if m.near != nil {
		m.near.Close()
	}
	for _, t := range []*torch.Tensor{m.rows, m.all} {
		if t != nil {
			t.Free()
		}
	}
}

// row copies one row out.
func (m *mapping) row(slot int) (row []float32, data []byte, err error) {
	err = torch.NoGrad(func(s *torch.Scope) {
		x := s.Alias(m.rows).Select(0, slot)
		row, data = torch.ToSlice[float32](x), torch.ToBytes(x)
	})
	return row, data, err
}

// slice copies n rows out by reading the file, without mapping its pages.
func (m *mapping) slice(from, n int) ([]float32, error) {
	out := make([]float32, n*m.dim)
	f, err := os.Open(m.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, 4*len(out))
	if _, err := f.ReadAt(data, sizeOf(from, m.dim)); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", m.path, err)
	}
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return out, nil
}
