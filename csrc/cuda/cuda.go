//go:build cuda

// Package cuda adds to csrc what needs libtorch_cuda's own symbols: NCCL to its process groups, and CUDA graphs. Package torch
// imports it under the build tag cuda.
//
// It compiles with the headers of libtorch, CUDA 13 and NCCL 2.28; scripts/build_cuda.sh finds them. It has compiled and started,
// but never run on a GPU.
package cuda

// #cgo CXXFLAGS: -std=c++17 -O2 -Wall -Wno-deprecated-declarations -DUSE_C10D_NCCL -I${SRCDIR}/..
// #cgo CXXFLAGS: -isystem ${SRCDIR}/../../third_party/libtorch/include -isystem /usr/local/libtorch/include
// #cgo CXXFLAGS: -isystem ${SRCDIR}/../../third_party/libtorch/include/torch/csrc/api/include
// #cgo CXXFLAGS: -isystem /usr/local/libtorch/include/torch/csrc/api/include -isystem /usr/local/cuda/include
// #cgo LDFLAGS: -L${SRCDIR}/../../third_party/libtorch/lib -L/usr/local/libtorch/lib
// #cgo LDFLAGS: -Wl,-rpath,${SRCDIR}/../../third_party/libtorch/lib -Wl,-rpath,/usr/local/libtorch/lib
// #cgo LDFLAGS: -Wl,-rpath-link,${SRCDIR}/../../third_party/libtorch/lib -Wl,-rpath-link,/usr/local/libtorch/lib
// #cgo LDFLAGS: -ltorch_cuda -lc10_cuda -ltorch_cpu -lc10 -l:libcudart.so.13
import "C"

import _ "github.com/goclip/goclip/csrc" // whose header this compiles with
