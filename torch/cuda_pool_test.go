package torch_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// compile runs the C++ compiler that built csrc, in csrc/cuda.
func compile(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("c++"); err != nil {
		t.Skip("needs a C++ compiler")
	}
	c := exec.Command("c++", append([]string{"-std=c++17", "-Wall"}, args...)...)
	c.Dir = filepath.Join("..", "csrc", "cuda")
	out, err := c.CombinedOutput()
	return string(out), err
}

// TestCapturePool runs the bookkeeping of captures, failed ones too, against a stand-in for
// libtorch's two allocators.
func TestCapturePool(t *testing.T) {
	program := filepath.Join(t.TempDir(), "pool")
	out, err := compile(t, "-o", program, "testdata/pool.cpp")
	require.NoError(t, err, out)
	said, err := exec.Command(program).CombinedOutput()
	assert.NoError(t, err)
	assert.Empty(t, string(said))
}

// TestCUDAHeaders refuses the headers of CUDA 12, which would compile as well.
func TestCUDAHeaders(t *testing.T) {
	out, err := compile(t, "-fsyntax-only", "-x", "c++", "-Itestdata/old", "version.h")
	assert.Error(t, err)
	assert.Contains(t, out, "libtorch 2.11 was compiled with CUDA 13")
	out, err = compile(t, "-fsyntax-only", "-x", "c++", "-Itestdata/new", "version.h")
	assert.NoError(t, err, out)
}
