// Package checkpoint reads and writes safetensors files (https://huggingface.co/docs/safetensors).
//
// A file is mapped, not read: an [Entry]'s data is valid until [File.Close]. Nothing in a file is trusted: a header that
// is malformed in any way is an error that names the file, the tensor and the fault. Writing goes to a temporary name in
// the same directory, reaches the disk, and is then renamed: a reader sees the old file or the new one.
package checkpoint

// DType is a safetensors element type, "F32".
type DType string

// The element types of the format that libtorch has too.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I64  DType = "I64"
	I32  DType = "I32"
	I16  DType = "I16"
	I8   DType = "I8"
	U8   DType = "U8"
	Bool DType = "BOOL"
)

// Size is the number of bytes of an element, 0 for a type that this package does not know.
func (d DType) Size() int {
	switch d {
	case F64, I64:
		return 8
	case F32, I32:
		return 4
	case F16, BF16, I16:
		return 2
	case I8, U8, Bool:
		return 1
	default:
		return 0
	}
}

// Entry is a tensor of a file: little-endian elements in row-major order.
type Entry struct {
	Name  string
	DType DType
	Shape []int
	Data  []byte
}
