package checkpoint

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/goclip/goclip/internal/mapped"
	"github.com/goclip/goclip/torch"
)

var dtypes = map[DType]torch.DType{
	F64: torch.Float64, F32: torch.Float32, F16: torch.Float16, BF16: torch.BFloat16, I64: torch.Int64, I32: torch.Int32,
	I16: torch.Int16, I8: torch.Int8, U8: torch.Uint8, Bool: torch.Bool,
}

// TorchDType is libtorch's name of the type.
func (d DType) TorchDType() torch.DType { return dtypes[d] }

// copied is how many bytes of an entry are copied before their pages are let go.
const copied = 16 << 20

// CopyTo copies an entry of f into dst, which keeps its type and device; the shapes must agree. What has been copied
// from the mapped file is let go at once, so that the file's pages do not stay in memory beside the tensor.
func (f *File) CopyTo(e Entry, dst *torch.Tensor) error {
	if !slices.Equal(e.Shape, dst.Shape()) {
		return fmt.Errorf("%s has the shape %v in the file and %v in the model", e.Name, e.Shape, dst.Shape())
	}
	same := e.DType.TorchDType() == dst.DType() && dst.Device() == torch.CPU
	return torch.NoGrad(func(s *torch.Scope) {
		flat := s.Alias(dst).View(-1)
		for at := 0; at < len(e.Data); at += copied {
			part := e
			part.Data = e.Data[at:min(at+copied, len(e.Data))]
			if same {
				flat.WriteBytes(at, part.Data)
			} else {
				s.NoGrad(func(s *torch.Scope) {
					n := len(part.Data) / e.DType.Size()
					s.Alias(flat).Narrow(0, at/e.DType.Size(), n).CopyFrom(torch.FromBytes(s, part.Data, e.DType.TorchDType(), n))
				})
			}
			f.Release(part)
		}
	})
}

// Share has dst, a float32 tensor on the CPU of the entry's shape, take its numbers from the file itself: nothing is
// read before it is used, the pages are the system's cache, and what is written into dst stays this process's own. The
// tensor keeps the file mapped after Close. It reports false, and leaves dst alone, where only [File.CopyTo] will do:
// numbers of another type, at an odd place in the file, or without a file.
func (f *File) Share(e Entry, dst *torch.Tensor) (shared bool, err error) {
	file, from := f.place(e)
	if file == nil || e.DType != F32 || from%4 != 0 || dst.DType() != torch.Float32 || dst.Device() != torch.CPU || !slices.Equal(e.Shape, dst.Shape()) {
		return false, nil
	}
	if file.whole == nil {
		if file.lent, err = file.file.Again(true); err != nil {
			return false, nil // copying always works
		}
		inHugePages(file.lent)
		memory, done, context := file.lent.Lend()
		if file.whole, err = torch.FromMemory(memory, torch.Float32, len(file.file.Bytes())/4, done, context); err != nil {
			return false, err
		}
	}
	return true, torch.NoGrad(func(s *torch.Scope) { s.Alias(dst).ShareStorage(file.whole, from/4, e.Shape...) })
}

// Lent are the files whose numbers tensors of [File.Share] read. A nil one is of no file.
type Lent struct{ files []*mapped.File }

// Lent is of the tensors that f has shared its numbers with so far, nil if it did with none. It outlives f.
func (f *File) Lent() *Lent {
	l := &Lent{}
	for _, file := range append([]*File{f}, f.shards...) {
		if file.lent != nil {
			l.files, file.watched = append(l.files, file.lent), true
		}
	}
	if len(l.files) == 0 {
		return nil
	}
	return l
}

// Err says that a file is not what it was when it was opened, as [ErrChanged], or that a part of it could not be read:
// numbers that were computed from it then have no meaning. It costs a system call for each file.
func (l *Lent) Err() error {
	if l == nil {
		return nil
	}
	for _, file := range l.files {
		if err := file.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Rows returns the part of e with the rows [from, to) of its first dimension.
func (e Entry) Rows(from, to int) Entry {
	row := len(e.Data) / max(1, e.Shape[0])
	e.Data = e.Data[from*row : to*row]
	e.Shape = append([]int{to - from}, e.Shape[1:]...)
	return e
}

// Tensor copies the entry into a new tensor on the CPU that belongs to s.
func (e Entry) Tensor(s *torch.Scope) *torch.Tensor {
	return torch.FromBytes(s, e.Data, e.DType.TorchDType(), e.Shape...)
}

// Of returns an entry of the type dtype for [Write], which reads the numbers out of t as it writes them, a piece at a time. Until then t
// must neither change nor be freed, and Data is empty.
func Of(name string, t *torch.Tensor, dtype torch.DType) Entry {
	e := Entry{Name: name, Shape: t.Shape(), tensor: t}
	for d, have := range dtypes {
		if have == dtype {
			e.DType = d
		}
	}
	return e
}

// FromTensor copies t out as an entry of the type dtype.
func FromTensor(name string, t *torch.Tensor, dtype torch.DType) (Entry, error) {
	e := Of(name, t, dtype)
	data := bytes.NewBuffer(make([]byte, 0, e.size()))
	err := e.write(data)
	e.Data, e.tensor = data.Bytes(), nil
	return e, err
}

// size is how many bytes e takes.
func (e Entry) size() int {
	if e.tensor == nil {
		return len(e.Data)
	}
	return e.tensor.Numel() * e.DType.Size()
}

// write gives w the numbers, of a tensor in pieces.
func (e Entry) write(w io.Writer) (err error) {
	if e.tensor == nil {
		_, err = w.Write(e.Data)
		return err
	}
	failed := torch.NoGrad(func(s *torch.Scope) {
		flat := s.Alias(e.tensor).Reshape(-1)
		n, piece := flat.Size(0), copied/e.DType.Size()
		for at := 0; at < n && err == nil; at += piece {
			s.NoGrad(func(s *torch.Scope) {
				_, err = w.Write(torch.ToBytes(s.Alias(flat).Narrow(0, at, min(piece, n-at)).To(torch.CPU, e.DType.TorchDType())))
			})
		}
	})
	return cmp.Or(failed, err)
}
