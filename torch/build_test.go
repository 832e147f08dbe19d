package torch

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLibraryBuild(t *testing.T) {
	b := LibraryBuild()
	assert.Equal(t, b.Headers, b.Version)
	assert.NotEmpty(t, b.CPUCapability)
	assert.Equal(t, Build{Version: "2.11.0", CPUCapability: "AVX2", OneDNN: "3.10.2", MKL: "2024.2"}, parseBuild(`PyTorch built with:
  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605 for Intel(R) 64 architecture applications
  - Intel(R) MKL-DNN v3.10.2 (Git Hash f1d4)
  - CPU capability usage: AVX2
  - Build settings: BLAS_INFO=mkl, TORCH_VERSION=2.11.0, USE_CUDA=ON, `))
	assert.Equal(t, Build{}, parseBuild(""))
}
