package index

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"sync"

	"github.com/goclip/goclip/index/scan"
)

// makeCodes makes the file of codes where it is lost or of too few rows: in an index of version 2,
// or by hand. It fails with fs.ErrNotExist where the vectors are lost.
func (w *Writer) makeCodes(st state) error {
	dim := st.model.EmbedDim
	kind := st.model.vectors()
	if err := kind.check(kind.path(w.dir, st.file), st.rows, dim); err != nil {
		return err
	}
	path := codes.path(w.dir, st.file)
	if err := codes.check(path, st.rows, dim); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDamaged) {
		return err
	}
	m, err := mapRows(w.dir, st)
	if err != nil {
		return err
	}
	defer m.free()
	return codes.create(w.fsys, path, dim, func(out io.Writer) error {
		for from := 0; from < st.rows; from += rowsAtOnce {
			if _, err := out.Write(m.encode(from, min(rowsAtOnce, st.rows-from))); err != nil {
				return err
			}
		}
		return nil
	})
}

// encode makes the codes of n rows, on all processors.
func (m *mapping) encode(from, n int) []byte {
	size, threads := scan.Size(m.dim), runtime.GOMAXPROCS(0)
	out := make([]byte, n*size)
	var group sync.WaitGroup
	for t := range threads {
		group.Go(func() {
			for i := t * n / threads; i < (t+1)*n/threads; i++ {
				scan.Append(out[i*size:i*size], m.row(from+i))
			}
		})
	}
	group.Wait()
	return out
}

// verifyCodes compares n codes with what is made of their rows.
func (m *mapping) verifyCodes(from, n int) error {
	if m.codes == nil {
		return nil
	}
	size := scan.Size(m.dim)
	if !bytes.Equal(m.encode(from, n), m.codes[headerSize+from*size:headerSize+(from+n)*size]) {
		return damaged(m.path, "the 8-bit codes beside it, from vector %d to %d, are not those of its vectors", from, from+n-1)
	}
	return nil
}
