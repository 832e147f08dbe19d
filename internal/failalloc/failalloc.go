// Package failalloc is for tests: it runs one with a libtorch whose memory gives out when the test
// says so.
//
// The allocator is C++ that the test compiles and loads into a process of its own (LD_PRELOAD):
// nothing of it is in a program.
package failalloc

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

//go:embed testdata/allocator.cpp
var source []byte

const controls = "GOCLIP_FAILING_ALLOCATOR"

// Allocator is libtorch's for the CPU.
type Allocator struct {
	left *atomic.Int64 // allocations until the one that fails; below 1 it has failed, or none will
}

// Run runs f in a process of its own that runs the test t alone. root is the checkout's directory.
func Run(t *testing.T, root string, f func(a *Allocator)) {
	t.Helper()
	if path := os.Getenv(controls); path != "" {
		f(&Allocator{control(t, path)})
		return
	}
	if _, err := exec.LookPath("c++"); err != nil {
		t.Skip("needs a C++ compiler")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "allocator.cpp"), source, 0o600))
	file := filepath.Join(dir, "control")
	require.NoError(t, os.WriteFile(file, make([]byte, 8), 0o600))
	libtorch := loaded(t)
	include, err := filepath.Abs(filepath.Join(root, "third_party", "libtorch", "include"))
	require.NoError(t, err)
	library := filepath.Join(dir, "allocator.so")
	out, err := exec.Command("c++", "-std=c++17", "-shared", "-fPIC", "-isystem", include, "-isystem", filepath.Join(filepath.Dir(libtorch), "include"),
		"-o", library, filepath.Join(dir, "allocator.cpp"), "-L"+libtorch, "-lc10").CombinedOutput()
	require.NoError(t, err, "%s", out)
	c := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), "LD_PRELOAD="+library, "LD_LIBRARY_PATH="+libtorch, controls+"="+file)
	out, err = c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// loaded is the directory of the libtorch of this process.
func loaded(t *testing.T) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	for line := range strings.Lines(string(maps)) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), "/"); ok && strings.HasSuffix(path, "/libc10.so") {
			return "/" + strings.TrimSuffix(path, "/libc10.so")
		}
	}
	t.Fatal("no libtorch is loaded")
	return ""
}

func control(t *testing.T, path string) *atomic.Int64 {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	memory, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	require.NoError(t, err)
	return (*atomic.Int64)(unsafe.Pointer(&memory[0]))
}

// Every calls work with its first allocation failing, then with its second, and so on until it makes
// fewer: each time it must return an error that says so, and again, without a failure, none. It
// gives how many there were.
func (a *Allocator) Every(t *testing.T, work func() error, again func()) (n int) {
	t.Helper()
	for {
		a.left.Store(int64(n + 1))
		err := work()
		failed := a.left.Swap(0) <= 0
		if !failed {
			require.NoError(t, err)
			return n
		}
		n++
		require.ErrorContains(t, err, "can't allocate memory", "allocation %d", n)
		again()
	}
}
