package gputest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// TestDriver asks CUDA's own runtime, which libtorch brings for the CPU too, what it makes of a driver that is missing, too
// old or refuses to start: the codes are those that torch.CUDAError has a sentence for.
func TestDriver(t *testing.T) {
	runtime := filepath.Join(libtorch(t), "libcudart.so.13")
	if _, err := os.Stat(runtime); err != nil {
		t.Skip("this libtorch comes without CUDA's runtime")
	}
	dir := t.TempDir()
	compile := func(args ...string) {
		t.Helper()
		out, err := exec.Command("cc", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	compile("-shared", "-fPIC", "-o", filepath.Join(dir, "libcuda.so.1"), "testdata/driver.c")
	program := filepath.Join(dir, "count.c")
	require.NoError(t, os.WriteFile(program, []byte(`#include <stdio.h>
int cudaGetDeviceCount(int *n);
int main(void) { int n; printf("%d", cudaGetDeviceCount(&n)); }
`), 0o600))
	count := filepath.Join(dir, "count")
	compile("-o", count, program, runtime, "-Wl,-rpath,"+filepath.Dir(runtime))
	codes := func(set ...string) (code int) {
		cmd := exec.Command(count)
		cmd.Env = append(os.Environ(), set...)
		out, err := cmd.Output()
		require.NoError(t, err)
		_, err = fmt.Sscan(string(out), &code)
		require.NoError(t, err)
		return code
	}
	if _, err := os.Stat("/proc/driver/nvidia"); err != nil {
		assert.Equal(t, 35, codes(), "no driver")
	}
	stub := "LD_LIBRARY_PATH=" + dir
	assert.Equal(t, 35, codes(stub, "STUB_DRIVER=12040"), "a driver for CUDA 12.4")
	for _, code := range []int{3, 46, 100, 304, 802, 803, 804, 999} {
		assert.Equal(t, code, codes(stub, fmt.Sprintf("STUB_CUINIT=%d", code)))
		assert.NotContains(t, (&torch.CUDAError{Code: code}).Error(), "CUDA fails with error", "it has a sentence")
	}
}
