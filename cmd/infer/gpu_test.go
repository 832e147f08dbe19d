package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/gputest"
)

// TestGPUStandIn has the commands compute on a stand-in for a GPU.
func TestGPUStandIn(t *testing.T) {
	run := func(capability string, args ...string) (out, errs string) {
		t.Helper()
		cmd := process(append(args, "--device", "cuda")...)
		cmd.Env = append(gputest.Env(t, "STUB_CAPABILITY="+capability), asCommand+"=1")
		var o, e strings.Builder
		cmd.Stdout, cmd.Stderr = &o, &e
		require.NoError(t, cmd.Run(), "%s: %s%s", args, &o, &e)
		noTrace(t, o.String()+e.String())
		assert.NotContains(t, e.String(), "RACE", args)
		return o.String(), e.String()
	}
	out, _ := run("90", "doctor")
	assert.Contains(t, out, "cuda:0: libtorch finds it")
	assert.Contains(t, out, "troubles    none")
	face := testImage("face.png")
	for _, c := range []struct{ capability, precision, says string }{
		{"90", "auto", "computing in bf16 on cuda:0"}, {"75", "auto", "computing in fp16 on cuda:0"}, {"75", "fp32", ""},
	} {
		out, errs := run(c.capability, "classify", "--precision", c.precision, "--label", "cat", "--label", "face", face)
		assert.Contains(t, out, "cat 0.9", c)
		assert.Contains(t, errs, c.says)
	}
	dir := t.TempDir()
	run("90", "embed", "--out", filepath.Join(dir, "rows"), face)
	assert.FileExists(t, filepath.Join(dir, "rows", "image_features.npy"))
	// The shipped model's weights are those of the index, whatever precision made it.
	_, errs := run("90", "index", "--out", filepath.Join(dir, "index"), filepath.Dir(face))
	assert.Contains(t, errs, "images added")
	out, _ = run("90", "search", "--index", filepath.Join(dir, "index"), "--format", "json", "a face")
	assert.Contains(t, out, ".png")
}
