package main

import (
	"os/exec"
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

// TestDriverErrors has the commands meet each of CUDA's errors on a machine that is not set up: --device cuda is refused
// in one line that says what to do, and auto computes on the CPU and says why.
func TestDriverErrors(t *testing.T) {
	score := []string{"score", "--image", testImage("face.png"), "--text", "a", "--text", "b"}
	for _, c := range []struct{ set, says string }{
		{"STUB_ERROR=3", "CUDA cannot initialise the NVIDIA driver"},
		{"STUB_ERROR=35", "the NVIDIA driver is missing, or too old for this libtorch's CUDA 13 (error 35): install driver 580 or newer"},
		{"STUB_ERROR=46", "end that process"},
		{"STUB_ERROR=304", "get permission for /dev/nvidia*"},
		{"STUB_ERROR=700", "CUDA fails with error 700"},
		{"STUB_ERROR=802", "start nvidia-fabricmanager"},
		{"STUB_ERROR=803", "restart the machine"},
		{"STUB_ERROR=804", "remove cuda-compat"},
		{"STUB_ERROR=999", "reload its module nvidia_uvm"},
		{"STUB_DEVICES=0", "CUDA finds no GPU (error 100)"},
		{"CUDA_VISIBLE_DEVICES=", "CUDA_VISIBLE_DEVICES does not hide it"},
		{"CUDA_VISIBLE_DEVICES=-1", "CUDA_VISIBLE_DEVICES does not hide it"},
	} {
		t.Run(c.set, func(t *testing.T) {
			run := func(args ...string) (out, errs string, code int) {
				cmd := process(args...)
				cmd.Env = append(gputest.Env(t, c.set), asCommand+"=1")
				var o, e strings.Builder
				cmd.Stdout, cmd.Stderr = &o, &e
				if err := cmd.Run(); err != nil {
					var exit *exec.ExitError
					require.ErrorAs(t, err, &exit)
					code = exit.ExitCode()
				}
				noTrace(t, o.String()+e.String())
				return o.String(), e.String(), code
			}
			_, errs, code := run(append(score, "--device", "cuda")...)
			assert.Equal(t, 2, code)
			assert.Contains(t, oneLine(t, errs), "infer: --device: device cuda: ")
			assert.Contains(t, errs, c.says)
			assert.Contains(t, errs, "or choose the device cpu")

			out, errs, code := run(score...)
			assert.Zero(t, code)
			assert.Contains(t, out, "a")
			assert.Contains(t, oneLine(t, errs), "infer: running on the CPU: ")
			assert.Contains(t, errs, c.says)

			out, errs, code = run("doctor", "--device", "cuda")
			assert.Equal(t, 1, code, errs)
			assert.Contains(t, out, c.says)
			assert.Contains(t, out, "no GPU can be used: ")
			if strings.HasPrefix(c.set, "CUDA_VISIBLE") {
				assert.Contains(t, out, "CUDA_VISIBLE_DEVICES hides every card: unset it, or set it to 0 for the first")
			}
		})
	}
}
