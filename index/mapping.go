package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"github.com/goclip/goclip/internal/mapped"
	"github.com/goclip/goclip/torch"
)

// mapping is the rows of a file of vectors, and of their codes, mapped. It is released as often as
// it was made and retained.
type mapping struct {
	path   string
	n, dim int
	maps   []*mapped.File
	file   []byte    // the file's header and rows
	rows   []float32 // (n, dim); nil where they are kept in half precision
	half   bool
	codes  []byte         // likewise; nil where there is no file that is whole
	near   near           // the engine's copy; nil for the exact search
	stamps [2]os.FileInfo // of the files of vectors and codes when they were mapped; nil for codes that are lost
	refs   int            // guarded by the Index's mu
}

// mapRows maps the vectors of a state. Codes that are lost are not missed: every vector is then
// compared.
func mapRows(dir string, st state) (*mapping, error) {
	kind := st.model.vectors()
	m := &mapping{path: kind.path(dir, st.file), n: st.rows, dim: st.model.EmbedDim, half: st.model.Half, refs: 1}
	var err error
	if m.file, m.stamps[0], err = m.mapFile(kind, m.path); err != nil {
		return nil, err
	}
	if m.n > 0 && !m.half {
		m.rows = unsafe.Slice((*float32)(unsafe.Pointer(&m.file[headerSize])), m.n*m.dim)
	}
	m.codes, m.stamps[1], err = m.mapFile(codes, codes.path(dir, st.file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDamaged) {
		m.free()
		return nil, err
	}
	return m, nil
}

func (m *mapping) mapFile(l layout, path string) (data []byte, stamp os.FileInfo, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if err := l.checkFile(f, m.n, m.dim); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	if stamp, err = f.Stat(); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	file, err := mapped.Of(f, false)
	if err != nil {
		return nil, nil, err
	}
	m.maps = append(m.maps, file)
	return file.Bytes()[:l.size(m.n, m.dim)], stamp, nil
}

// missing says that rows, or their codes, were read that are no longer in the file: they were zeros.
func (m *mapping) missing() error {
	for i, data := range [][]byte{m.file, m.codes} {
		if data == nil {
			continue
		}
		if err := m.maps[i].Missing(int64(len(data))); err != nil {
			return fmt.Errorf("%w: %w", err, ErrDamaged)
		}
	}
	return nil
}

// unchanged reports whether the files of a state are those that are mapped, by inode, size and time.
func (m *mapping) unchanged(dir string, st state) bool {
	for i, l := range []layout{st.model.vectors(), codes} {
		info, err := os.Stat(l.path(dir, st.file))
		was := m.stamps[i]
		switch {
		case err != nil || was == nil:
			if err == nil || was != nil {
				return false
			}
		case !os.SameFile(info, was) || info.Size() != was.Size() || !info.ModTime().Equal(was.ModTime()):
			return false
		}
	}
	return true
}

func (m *mapping) free() {
	if m.near != nil {
		m.near.Close()
	}
	for _, file := range m.maps {
		_ = file.Close() // read only: nothing is lost
	}
}

// row is one row, as long as the mapping is held; it may not be written to.
func (m *mapping) row(slot int) []float32 { return m.span(slot, 1) }

// span is n rows, likewise.
func (m *mapping) span(from, n int) []float32 {
	if !m.half {
		return m.rows[from*m.dim : (from+n)*m.dim]
	}
	out := make([]float32, n*m.dim)
	m.decode(out, m.file[headerSize+from*m.rowSize():])
	return out
}

// rowSize is a row's bytes in the file.
func (m *mapping) rowSize() int {
	if m.half {
		return 2 * m.dim
	}
	return 4 * m.dim
}

// bytes are those of one row in the file.
func (m *mapping) bytes(slot int) []byte {
	size := m.rowSize()
	return m.file[headerSize+size*slot : headerSize+size*(slot+1)]
}

// tensor has copies of the rows of slots: (len(slots), dim).
func (m *mapping) tensor(s *torch.Scope, slots []int64) *torch.Tensor {
	rows := make([]float32, 0, len(slots)*m.dim)
	for _, slot := range slots {
		rows = append(rows, m.row(int(slot))...)
	}
	return torch.FromSlice(s, rows, len(slots), m.dim)
}

// slice copies n rows out by reading the file, without mapping its pages.
func (m *mapping) slice(from, n int) ([]float32, error) {
	out := make([]float32, n*m.dim)
	f, err := os.Open(m.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, n*m.rowSize())
	if _, err := f.ReadAt(data, int64(headerSize)+int64(from)*int64(m.rowSize())); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", m.path, err)
	}
	m.decode(out, data)
	return out, nil
}
