package torch

/*
#include "../csrc/goclip.h"
#cgo noescape gc_open_cuda
#cgo nocallback gc_open_cuda
*/
import "C"

import (
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

// ParseDevice reads "auto", "cpu", "cuda" or "cuda:1". "auto" is the first CUDA device that there
// is, else the CPU. A CUDA device that this machine lacks is an error: nothing falls back to the
// CPU unasked.
func ParseDevice(name string) (Device, error) {
	kind, index, indexed := strings.Cut(name, ":")
	d := Device{Type: kind}
	if indexed {
		i, err := strconv.Atoi(index)
		if err != nil || i < 0 || kind != "cuda" {
			return CPU, fmt.Errorf("device %q is none of auto, cpu, cuda, cuda:N", name)
		}
		d.Index = i
	}
	switch kind {
	case "auto":
		if n, err := openCUDA(); err == nil && n > 0 {
			return Device{Type: "cuda"}, nil
		}
		return CPU, nil
	case "cpu":
		return CPU, nil
	case "cuda":
		n, err := openCUDA()
		switch {
		case err != nil:
			return CPU, fmt.Errorf("device %s: %w; install libtorch with CUDA, or choose the device cpu", name, err)
		case d.Index >= n:
			return CPU, fmt.Errorf("device %s: this machine has %d CUDA devices; choose the device cpu", name, n)
		}
		return d, nil
	default:
		return CPU, fmt.Errorf("device %q is none of auto, cpu, cuda, cuda:N", name)
	}
}

// openCUDA loads libtorch_cuda.so, which binaries do not link, and counts the devices.
var openCUDA = sync.OnceValues(func() (int, error) {
	var n C.int32_t
	if msg := C.gc_open_cuda(&n); msg != nil {
		return 0, takeMessage("open_cuda", msg)
	}
	return int(n), nil
})

// CUDA tells whether this libtorch knows CUDA, which is to say that libtorch_cuda.so lies beside
// libtorch_cpu.so, and how many devices it can use; err says why the library cannot be loaded.
func CUDA() (known bool, devices int, err error) {
	if known = C.gc_knows_cuda() != 0; !known {
		return false, 0, nil
	}
	devices, err = openCUDA()
	return true, devices, err
}

// FellBack is a sentence for who let "auto" choose and got the CPU from a libtorch that knows CUDA,
// so that nobody runs on the CPU without knowing; "" in every other case.
func FellBack(name string, chosen Device) string {
	if name != "auto" || chosen.Type == "cuda" {
		return ""
	}
	known, _, err := CUDA()
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
