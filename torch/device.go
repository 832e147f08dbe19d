package torch

/*
#include "../csrc/goclip.h"
#cgo noescape gc_open_cuda
#cgo nocallback gc_open_cuda
#cgo noescape gc_cuda_capability
#cgo nocallback gc_cuda_capability
*/
import "C"

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Device is where a tensor lives. The zero value is the CPU.
type Device struct {
	Type  string // "cpu" (or "") or "cuda"
	Index int    // which of the machine's devices; 0 for the CPU
}

// CPU is the host.
var CPU = Device{Type: "cpu"}

// c10::DeviceType (torch/headeronly/core/DeviceType.h).
const (
	deviceCPU  = 0
	deviceCUDA = 1
	maxDevices = 128 // c10::DeviceIndex is an int8
)

// ParseDevice reads "auto", "cpu", "cuda" or "cuda:1". "auto" is the first CUDA device if libtorch
// can compute on it, else the CPU. A CUDA device that this machine lacks, or that libtorch has no
// kernels for, is an error: nothing falls back to the CPU unasked.
func ParseDevice(name string) (Device, error) {
	kind, index, indexed := strings.Cut(name, ":")
	d := Device{Type: kind}
	if indexed {
		i, err := strconv.Atoi(index)
		if err != nil || i < 0 || kind != "cuda" {
			return CPU, fmt.Errorf("device %q: must be one of auto, cpu, cuda, cuda:N", name)
		}
		d.Index = i
	}
	switch kind {
	case "auto":
		if n, err := openCUDA(); err == nil && n > 0 && hasKernels(Device{Type: "cuda"}) == nil {
			return Device{Type: "cuda"}, nil
		}
		return CPU, nil
	case "cpu":
		return CPU, nil
	case "cuda":
		n, err := openCUDA()
		switch {
		case errors.As(err, new(*CUDAError)):
			return CPU, fmt.Errorf("device %s: %w, or choose the device cpu", name, err)
		case err != nil:
			return CPU, fmt.Errorf("device %s: %w; install libtorch with CUDA, or choose the device cpu", name, err)
		case d.Index >= n:
			return CPU, fmt.Errorf("device %s: this machine has %d CUDA devices; choose the device cpu", name, n)
		}
		if err := hasKernels(d); err != nil {
			return CPU, fmt.Errorf("device %s: %w; choose the device cpu", name, err)
		}
		return d, nil
	default:
		return CPU, fmt.Errorf("device %q: must be one of auto, cpu, cuda, cuda:N", name)
	}
}

// openCUDA loads libtorch_cuda.so, which binaries do not link, and counts the devices.
var openCUDA = sync.OnceValues(func() (int, error) {
	var n, failed C.int32_t
	if msg := C.gc_open_cuda(&n, &failed); msg != nil {
		return 0, takeMessage("open_cuda", msg)
	}
	if failed != 0 {
		return 0, &CUDAError{int(failed)}
	}
	return int(n), nil
})

// The generations of NVIDIA's devices between which something changes, as [Device.Capability]
// counts them.
const (
	turing = 75 // the oldest that builds of libtorch for CUDA 13 have kernels for
	ampere = 80 // the first with products in bfloat16, and with flash attention in libtorch
)

// Capability returns a CUDA device's compute capability, 90 for 9.0 (Hopper); 0 for the CPU.
func (d Device) Capability() (int, error) {
	n, _, err := d.capability()
	return n, err
}

// capability is also the version of the CUDA runtime, 13000 for 13.0.
func (d Device) capability() (capability, runtime int, err error) {
	if d.Type != "cuda" {
		return 0, 0, nil
	}
	var c, r C.int32_t
	if msg := C.gc_cuda_capability(C.int32_t(d.Index), &c, &r); msg != nil {
		return 0, 0, takeMessage("capability", msg)
	}
	return int(c), int(r), nil
}

// hasKernels fails where libtorch finds a device and was built without kernels for it.
func hasKernels(d Device) error {
	n, runtime, err := d.capability()
	if err == nil && runtime >= 13000 && n < turing {
		err = fmt.Errorf("the GPU has compute capability %d.%d, and this libtorch has kernels from 7.5 (Turing) on", n/10, n%10)
	}
	return err
}

// HasBFloat16 reports whether d computes products in bfloat16 at the rate of float16: CUDA devices
// from Ampere on. It is false for the CPU, where that depends on the processor.
func (d Device) HasBFloat16() bool {
	n, err := d.Capability()
	return err == nil && n >= ampere
}

// CanVarlen reports whether [VarlenAttention] runs on d. CUDA devices before Ampere have no flash
// attention of sequences of several lengths.
func (d Device) CanVarlen() bool {
	n, err := d.Capability()
	return d.Type != "cuda" || err == nil && n >= ampere
}

// CUDA reports whether this libtorch knows CUDA, which is to say that libtorch_cuda.so lies beside
// libtorch_cpu.so, and how many devices it can use; err says why the library cannot be loaded, or
// is a [*CUDAError].
func CUDA() (known bool, devices int, err error) {
	if known = C.gc_knows_cuda() != 0; !known {
		return false, 0, nil
	}
	devices, err = openCUDA()
	return true, devices, err
}

// FellBack returns a sentence for a user who let "auto" choose and got the CPU from a libtorch that knows CUDA,
// so that nobody runs on the CPU without knowing; "" in every other case.
func FellBack(name string, chosen Device) string {
	if name != "auto" || chosen.Type == "cuda" {
		return ""
	}
	known, n, err := CUDA()
	if n > 0 {
		err = hasKernels(Device{Type: "cuda"})
	}
	switch {
	case !known:
		return ""
	case err != nil:
		return fmt.Sprintf("running on the CPU: %v", err)
	default:
		return "running on the CPU: libtorch knows CUDA and finds no device"
	}
}

// String is PyTorch's name of the device, "cuda:0".
func (d Device) String() string {
	if d.Type == "cuda" {
		return "cuda:" + strconv.Itoa(d.Index)
	}
	return "cpu"
}

// code is c10's name of the device, for the operator op.
func (d Device) code(op string) (kind int32, index int64) {
	switch {
	case d.Type == "cuda" && d.Index >= 0 && d.Index < maxDevices:
		return deviceCUDA, int64(d.Index)
	case d.Type == "cuda":
		misuse(op, "there is no device cuda:%d", d.Index)
	case d.Type != "cpu" && d.Type != "":
		misuse(op, "the device type %q is neither cpu nor cuda", d.Type)
	}
	return deviceCPU, -1
}
