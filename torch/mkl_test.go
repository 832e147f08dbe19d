//go:build amd64

package torch_test

import (
	"debug/elf"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// csrc/mkl.cpp replaces a function of libtorch's. That works as long as libtorch exports and calls
// it by name, and the program exports its own.
func TestMKLIsToldOfAVX512(t *testing.T) {
	const name = "mkl_serv_intel_cpu_true"
	defines := func(file string) *elf.File {
		f, err := elf.Open(file)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		symbols, err := f.DynamicSymbols()
		require.NoError(t, err)
		assert.True(t, slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == name && s.Section != elf.SHN_UNDEF }), "%s defines %s", file, name)
		return f
	}
	defines("/proc/self/exe")
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	for line := range strings.Lines(string(maps)) {
		file := strings.TrimSpace(line[strings.LastIndex(line, " ")+1:])
		if !strings.HasSuffix(file, "/libtorch_cpu.so") {
			continue
		}
		flags, err := defines(file).DynValue(elf.DT_FLAGS)
		require.NoError(t, err)
		for _, f := range flags {
			assert.Zero(t, elf.DynFlag(f)&elf.DF_SYMBOLIC, "libtorch looks for its own functions first")
		}
		return
	}
	t.Fatal("libtorch_cpu.so is not loaded")
}
