// Package checkpoint reads every file that CLIP's weights come in, and writes safetensors.
//
// [Open] goes by what is in a file, never by its name:
//
//   - safetensors (https://huggingface.co/docs/safetensors);
//   - the zip archives of torch.save since PyTorch 1.6 and its bare pickles before (torch/serialization.py);
//   - TorchScript archives, in which OpenAI published CLIP: the tensors among the modules' attributes under their
//     state-dict names; the code beside them is not looked at (torch/csrc/jit/serialization);
//   - the index of a checkpoint in several such files, model.safetensors.index.json or pytorch_model.bin.index.json,
//     whose shards lie in the index's directory (transformers, huggingface_hub).
//
// No file is ever run: the pickle inside torch.save's files is read by a machine that knows tensors and containers and
// refuses, by name, whatever else a pickle would call.
//
// A torch.save file holds any Python object, so a rule says which of its tensors are the weights: if the object is a
// dict with a dict under "state_dict", "model_state_dict" or "model", the first of these; otherwise the whole, without
// what lies under keys that begin with "optim". Only tensors become entries; the names of nested containers are joined
// with dots. The object's own numbers and strings (epoch, name) are [File.Metadata].
//
// A file is mapped, not read: an [Entry]'s data is valid until [File.Close]. Only tensors that do not lie in row-major
// order in their file are copied when it is opened. Nothing in a file is trusted: whatever is malformed is an error of
// one line that names the file, the tensor and the fault, and opening takes at most 64 MiB of memory and twice the
// file's size. Checksums are not compared, since torch.save may leave them out (torch.serialization.set_crc32_options).
//
// Writing goes to a temporary name in the same directory, reaches the disk, and is then renamed: a reader sees the old
// file or the new one.
package checkpoint

import "github.com/goclip/goclip/torch"

// DType is an element type by its name in safetensors, "F32".
type DType string

// The element types of safetensors that libtorch has too.
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

// Size returns the number of bytes of an element, 0 for a type that this package does not know.
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

	tensor *torch.Tensor // where the numbers are, in place of Data, [Of]
}
