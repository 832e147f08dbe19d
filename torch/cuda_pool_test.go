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

// TestBookkeeping runs what csrc keeps account of against stand-ins for what libtorch does with a
// device: captures of graphs, failed ones too, and its two allocators (pool); collectives that the
// host does not wait for (flight); uploads through page-locked memory (pieces).
func TestBookkeeping(t *testing.T) {
	for _, name := range []string{"pool", "flight", "pieces"} {
		t.Run(name, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), name)
			out, err := compile(t, "-o", program, "testdata/"+name+".cpp")
			require.NoError(t, err, out)
			said, err := exec.Command(program).CombinedOutput()
			assert.NoError(t, err)
			assert.Empty(t, string(said))
		})
	}
}

// TestCUDAHeaders refuses the headers of CUDA 12, which would compile as well.
func TestCUDAHeaders(t *testing.T) {
	out, err := compile(t, "-fsyntax-only", "-x", "c++", "-Itestdata/old", "version.h")
	assert.Error(t, err)
	assert.Contains(t, out, "libtorch 2.11 was compiled with CUDA 13")
	out, err = compile(t, "-fsyntax-only", "-x", "c++", "-Itestdata/new", "version.h")
	assert.NoError(t, err, out)
}
