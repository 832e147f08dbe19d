package torch

import "fmt"

// DType is the type of a tensor's elements. The values are those of c10::ScalarType
// (c10/core/ScalarType.h).
type DType int8

// The element types that goclip uses.
const (
	Uint8    DType = 0
	Int8     DType = 1
	Int16    DType = 2
	Int32    DType = 3
	Int64    DType = 4
	Float16  DType = 5
	Float32  DType = 6
	Float64  DType = 7
	Bool     DType = 11
	BFloat16 DType = 15

	complex128 DType = 10
)

var dtypeNames = map[DType]string{
	Uint8: "uint8", Int8: "int8", Int16: "int16", Int32: "int32", Int64: "int64",
	Float16: "float16", Float32: "float32", Float64: "float64", Bool: "bool", BFloat16: "bfloat16",
	8: "complex32", 9: "complex64", complex128: "complex128", 12: "qint8", 13: "quint8", 14: "qint32",
}

// String is PyTorch's name of the type, "float32".
func (d DType) String() string {
	if name, ok := dtypeNames[d]; ok {
		return name
	}
	return fmt.Sprintf("dtype(%d)", int8(d))
}

// Size returns the number of bytes of one element.
func (d DType) Size() int {
	switch d {
	case Uint8, Int8, Bool:
		return 1
	case Int16, Float16, BFloat16:
		return 2
	case Int32, Float32:
		return 4
	case complex128:
		return 16
	default:
		return 8
	}
}

// Element is a Go type that has a DType. float16 and bfloat16 have none: convert with [Tensor.To]
// and copy as float32, or move their bits as [Half] and [BHalf].
type Element interface {
	uint8 | int8 | int16 | int32 | int64 | float32 | float64 | bool | Half | BHalf
}

// Half holds the bits of an IEEE binary16 number, libtorch's float16.
type Half uint16

// BHalf holds the bits of a bfloat16 number: the upper half of a float32.
type BHalf uint16

func dtypeOf[T Element]() DType {
	var zero T
	switch any(zero).(type) {
	case uint8:
		return Uint8
	case int8:
		return Int8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case Half:
		return Float16
	case float32:
		return Float32
	case float64:
		return Float64
	case bool:
		return Bool
	default:
		return BFloat16
	}
}

// floating tells of numbers that can be NaN.
func (d DType) floating() bool {
	return d == Float16 || d == BFloat16 || d == Float32 || d == Float64
}
