package clip

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goclip/goclip/torch"
)

// Precision is the type in which the towers compute; features are float32 in any case.
type Precision int

// The precisions. FP32 is float32's numbers by the fastest way: on a CPU with AMX products are three of bfloat16
// ([torch.BFloat16x3]), which changes features by less than 2e-6, and FP32Strict never does that. BF16 is for the CPU, fast where it has AMX or bfloat16 instructions, and for CUDA; FP16 is for CUDA,
// Int8 for the CPU.
const (
	FP32 Precision = iota
	BF16
	FP16
	Int8
	FP32Strict
)

var precisionNames = []string{"fp32", "bf16", "fp16", "int8", "fp32-strict"}

// String is "fp32", "bf16", "fp16", "int8" or "fp32-strict".
func (p Precision) String() string {
	if p < 0 || int(p) >= len(precisionNames) {
		return fmt.Sprintf("Precision(%d)", int(p))
	}
	return precisionNames[p]
}

// ParsePrecision is the reverse of String.
func ParsePrecision(name string) (Precision, error) {
	i := slices.Index(precisionNames, name)
	if i < 0 {
		return 0, fmt.Errorf("clip: the precision %q is unknown: it must be fp32, fp32-strict, bf16, fp16 or int8", name)
	}
	return Precision(i), nil
}

// Float32 reports whether weights and features are float32 throughout.
func (p Precision) Float32() bool { return p == FP32 || p == FP32Strict }

// Packing is how [Model.PackImages] and [Model.PackTexts] prepare a float32 model on the CPU for many inputs.
func (p Precision) Packing() torch.Packing {
	if p == FP32 && torch.BFloat16x3() == nil {
		return torch.PackBFloat16x3
	}
	return torch.PackFloat32
}

// DefaultPrecision returns the one to take on d where nobody chose: float32 on the CPU, bfloat16 on a GPU,
// and float16 on one before Ampere, which computes bfloat16 slowly. Callers say in their log which
// it is, because features then differ from float32's in the third digit.
func DefaultPrecision(d torch.Device) Precision {
	switch {
	case d.Type != "cuda":
		return FP32
	case d.HasBFloat16():
		return BF16
	default:
		return FP16
	}
}

// compute prepares a model that is on its device for a precision.
func (m *Model) compute(p Precision) error {
	onCPU := m.Device() == torch.CPU
	switch {
	case p.Float32():
		return nil
	case p == BF16 && onCPU:
		return errors.Join(m.PackImages(torch.PackBFloat16), m.PackTexts(torch.PackBFloat16))
	case p == Int8 && onCPU:
		return errors.Join(m.PackImages(torch.PackInt8), m.PackTexts(torch.PackInt8))
	case p == BF16:
		return m.Cast(torch.BFloat16)
	case p == FP16 && !onCPU:
		return m.Cast(torch.Float16)
	case p == FP16:
		return marked{fmt.Errorf("clip: the precision fp16 is for CUDA, and the device is %s: take bf16 or int8", m.Device()), ErrUnsupported}
	case p == Int8:
		return marked{fmt.Errorf("clip: the precision int8 is for the CPU, and the device is %s: take bf16 or fp16", m.Device()), ErrUnsupported}
	default:
		return fmt.Errorf("clip: %v is not a precision", p)
	}
}
