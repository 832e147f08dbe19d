package goclip_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBenchmarksExist: the scripts of benchmarks/ choose benchmarks by their names, and go test runs none, without an
// error, where no name fits.
func TestBenchmarksExist(t *testing.T) {
	there := map[string]bool{}
	require.NoError(t, filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (name == "third_party" || name == "build" || name == ".git") {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range regexp.MustCompile(`(?m)^func (Benchmark\w+)\(`).FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
		return err
	}))
	scripts, err := filepath.Glob("benchmarks/*.py")
	require.NoError(t, err)
	named := 0
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		require.NoError(t, err)
		for _, name := range regexp.MustCompile(`Benchmark[A-Z]\w*`).FindAllString(string(text), -1) {
			named++
			assert.True(t, there[name], "%s runs %s, which no test file has", script, name)
		}
	}
	assert.NotZero(t, named)
}
