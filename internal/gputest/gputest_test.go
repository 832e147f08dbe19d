package gputest

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestDir prints the directory for make gpu-check-dry.
func TestDir(t *testing.T) {
	dir := Dir(t)
	assert.FileExists(t, filepath.Join(dir, "libtorch_cuda.so"))
	assert.FileExists(t, filepath.Join(dir, "libtorch_cpu.so"))
	assert.Equal(t, dir, Dir(t))
	fmt.Println("directory:", dir)
}
