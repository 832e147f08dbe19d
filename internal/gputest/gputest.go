// Package gputest finds the GPU of a test, or a stand-in for one: a libtorch_cuda.so whose memory is the host's and whose
// kernels are the CPU's (testdata/device.cpp says what it holds against its user). Only tests import it.
//
// The stand-in shows that goclip gives a device only tensors of that device, waits for each copy and reads back no more
// than it says. It cannot show what is CUDA's own: kernels and their rounding, graphs, NCCL, time.
package gputest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// GPU is the first CUDA device, which the stand-in may be; the test is skipped without one.
func GPU(t testing.TB) torch.Device {
	t.Helper()
	d, err := torch.ParseDevice("cuda")
	if err != nil {
		t.Skipf("needs a GPU: %v", err)
	}
	return d
}

// Capturing is [GPU] for tests of CUDA graphs, which need the build tag cuda too.
func Capturing(t testing.TB) torch.Device {
	t.Helper()
	d := GPU(t)
	if !torch.CanCapture() {
		t.Skip("needs the build tag cuda")
	}
	return d
}

// Dir is a directory with the libraries of this process's libtorch beside the stand-in. It is compiled once for each
// version of its sources.
func Dir(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("c++"); err != nil {
		t.Skip("needs a C++ compiler")
	}
	_, here, _, _ := runtime.Caller(0)
	sources, err := filepath.Glob(filepath.Join(filepath.Dir(here), "testdata", "*.cpp"))
	require.NoError(t, err)
	libraries := libtorch(t)
	sum := sha256.New()
	fmt.Fprintln(sum, libraries)
	for _, path := range sources {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		sum.Write(text)
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("goclip-gputest-%x", sum.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	include := filepath.Join(filepath.Dir(here), "..", "..", "third_party", "libtorch", "include")
	if _, err := os.Stat(filepath.Join(include, "ATen")); err != nil {
		include = filepath.Join(libraries, "..", "include")
	}
	made, err := os.MkdirTemp("", "goclip-gputest-")
	require.NoError(t, err)
	args := append([]string{"-std=c++17", "-Wall", "-shared", "-fPIC", "-o", filepath.Join(made, "libtorch_cuda.so"), "-isystem", include}, sources...)
	out, err := exec.Command("c++", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	files, err := filepath.Glob(filepath.Join(libraries, "*.so*"))
	require.NoError(t, err)
	for _, f := range files {
		if filepath.Base(f) != "libtorch_cuda.so" {
			require.NoError(t, os.Symlink(f, filepath.Join(made, filepath.Base(f))))
		}
	}
	if err := os.Rename(made, dir); err != nil { // another package's test was first
		require.NoError(t, os.RemoveAll(made))
	}
	return dir
}

// libtorch is the directory that libtorch_cpu.so was loaded from.
func libtorch(t testing.TB) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	for _, line := range strings.Split(string(maps), "\n") {
		if i := strings.IndexByte(line, '/'); i >= 0 && strings.HasSuffix(line, "/libtorch_cpu.so") {
			return filepath.Dir(line[i:])
		}
	}
	t.Fatal("this process has not loaded libtorch")
	return ""
}

// Env is the environment of a process that finds one stand-in of compute capability 9.0, or what set says: STUB_DEVICES,
// STUB_CAPABILITY, STUB_MEMORY (bytes), STUB_TRACE, STUB_FORGETS.
func Env(t testing.TB, set ...string) []string {
	return append(os.Environ(), append([]string{"LD_LIBRARY_PATH=" + Dir(t), "STUB_DEVICES=1", "STUB_CAPABILITY=90"}, set...)...)
}

// Run runs the tests of this binary that the pattern names, in a process that finds the stand-in. All must pass, none may
// be skipped, and no work may use memory that other work may still write. It returns what the process said.
func Run(t *testing.T, pattern string, set ...string) string {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run", pattern, "-test.v")
	c.Env = Env(t, set...)
	out, err := c.CombinedOutput()
	text := string(out)
	require.NoError(t, err, text)
	require.Contains(t, text, "--- PASS")
	require.NotContains(t, text, "--- SKIP")
	if !strings.Contains(strings.Join(set, " "), "STUB_FORGETS") {
		require.NotContains(t, text, "RACE")
	}
	return text
}
