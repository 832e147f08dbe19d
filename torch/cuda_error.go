package torch

import "fmt"

// CUDAError is why CUDA counts no devices.
type CUDAError struct {
	Code int // cudaError_t, of CUDA's driver_types.h
}

// Error says what is missing and what to do about it.
func (e *CUDAError) Error() string {
	if text, known := cudaErrors[e.Code]; known {
		return text
	}
	return fmt.Sprintf("CUDA fails with error %d: check with nvidia-smi that the driver works", e.Code)
}

// cudaErrors are those that cudaGetDeviceCount returns on a machine that is not set up.
var cudaErrors = map[int]string{
	3:   "CUDA cannot initialise the NVIDIA driver (error 3): check with nvidia-smi that the driver works",
	35:  "the NVIDIA driver is missing, or too old for this libtorch's CUDA 13 (error 35): install driver 580 or newer",
	46:  "every GPU is held by another process (error 46): end that process, or set the GPU's compute mode to default",
	100: "CUDA finds no GPU (error 100): check that nvidia-smi lists one and that CUDA_VISIBLE_DEVICES does not hide it",
	304: "the NVIDIA driver cannot open its device files (error 304): get permission for /dev/nvidia*, or start the container with --gpus all",
	802: "the GPUs are not ready (error 802): start nvidia-fabricmanager",
	803: "the NVIDIA driver's library and its kernel module have different versions (error 803): restart the machine",
	804: "the container's cuda-compat library does not support this card (error 804): remove cuda-compat from the container, or update the host's driver",
	999: "the NVIDIA driver fails and does not say why (error 999): reload its module nvidia_uvm, or restart the machine",
}
