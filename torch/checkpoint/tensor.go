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

// CopyTo copies the entry into dst, which keeps its type and device; the shapes must agree.
func (e Entry) CopyTo(dst *torch.Tensor) error {
	if !slices.Equal(e.Shape, dst.Shape()) {
		return fmt.Errorf("%s has the shape %v in the file and %v in the model", e.Name, e.Shape, dst.Shape())
	}
	return torch.NoGrad(func(s *torch.Scope) { s.Alias(dst).CopyFrom(e.Tensor(s)) })
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
