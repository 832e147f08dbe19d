package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReadOnlyMount searches a file system that is mounted read-only (EROFS, where a directory without permission is EACCES):
// with an index it is searched as it is, without one the message says where an index can be made.
func TestReadOnlyMount(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	indexed, bare := filepath.Join(dir, "indexed"), filepath.Join(dir, "bare")
	for _, at := range []string{indexed, bare} {
		copyImage(t, "face.png", filepath.Join(at, "face.png"))
	}
	code, _, errs := infer(t, "", "index", "--model", tiny, indexed)
	require.Equal(t, 0, code, errs)
	copyImage(t, "grey.gif", filepath.Join(indexed, "new.gif"))
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	require.ErrorIs(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o644), syscall.EROFS)

	code, out, errs := infer(t, "", "search", "a word", indexed)
	assert.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "the index is searched as it is")
	assert.Contains(t, out, "face.png")
	assert.NotContains(t, out, "new.gif")

	code, _, errs = infer(t, "", "search", "--model", tiny, "a word", bare)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "infer index --out DIR "+bare+" makes the index elsewhere, and infer search --index DIR searches it")
	elsewhere := filepath.Join(t.TempDir(), "index")
	code, _, errs = infer(t, "", "index", "--model", tiny, "--out", elsewhere, bare)
	require.Equal(t, 0, code, errs)
	code, out, errs = infer(t, "", "search", "--index", elsewhere, "a word")
	assert.Equal(t, 0, code, errs)
	assert.Contains(t, out, "face.png")
}
