package checkpoint

import (
	"fmt"
	"slices"

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

// CopyTo copies an entry of f into dst, which keeps its type and device; the shapes must agree. What has been copied from
// the mapped file is let go at once, so that the file's pages do not stay in memory beside the tensor.
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

// Rows is the part of e with the rows [from, to) of its first dimension.
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

// FromTensor copies t out as an entry of the type dtype.
func FromTensor(name string, t *torch.Tensor, dtype torch.DType) (Entry, error) {
	e := Entry{Name: name, Shape: t.Shape()}
	for d, have := range dtypes {
		if have == dtype {
			e.DType = d
		}
	}
	err := torch.NoGrad(func(s *torch.Scope) { e.Data = torch.ToBytes(s.Alias(t).To(torch.CPU, dtype)) })
	return e, err
}
