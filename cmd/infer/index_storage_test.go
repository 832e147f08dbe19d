package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An index in half precision takes half of the room and finds the same; it is changed back by a
// rebuild, and by nothing else.
func TestIndexStorage(t *testing.T) {
	dir := t.TempDir()
	emoji(t, dir, 30)
	at := filepath.Join(dir, ".goclip")
	run := func(args ...string) result {
		t.Helper()
		code, _, errs := infer(t, "", append(append([]string{"index"}, args...), dir)...)
		require.Zero(t, code, errs)
		code, out, errs := infer(t, "", "search", "--index", at, "--format", "json", "grinning face")
		require.Zero(t, code, errs)
		var r result
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		return r
	}
	size := func(name string) int64 {
		info, err := os.Stat(filepath.Join(at, name))
		require.NoError(t, err)
		return info.Size() - 64 // the header
	}
	half := run("--storage", "float16")
	bytes := size("vectors-1.f16")
	assert.Equal(t, half, run(), "it stays as it is")
	code, _, errs := infer(t, "", "index", "--storage", "float32", dir)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "does not keep its vectors as float32")
	single := run("--storage", "float32", "--rebuild")
	assert.Equal(t, 2*bytes, size("vectors-2.f32"))
	for i, r := range single.Results {
		assert.InDelta(t, r.Score, half.Results[i].Score, 1e-3)
	}
	code, _, errs = infer(t, "", "index", "--storage", "int4", dir)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "--storage")
}
