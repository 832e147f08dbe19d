package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/gputest"
)

// TestDriverErrors has --device cuda meet CUDA's errors on a machine that is not set up: one line says what to do, the
// status is 2, and nothing is written.
func TestDriverErrors(t *testing.T) {
	model, data := tinyModel(t), shard(t, 16)
	for set, says := range map[string]string{
		"STUB_ERROR=35": "install driver 580 or newer", "STUB_ERROR=304": "get permission for /dev/nvidia*",
		"STUB_ERROR=999": "reload its module nvidia_uvm", "CUDA_VISIBLE_DEVICES=": "CUDA_VISIBLE_DEVICES does not hide it",
	} {
		t.Run(set, func(t *testing.T) {
			logs := filepath.Join(t.TempDir(), "logs")
			cmd := process("--model", model, "--train-data", data, "--batch-size", "8", "--epochs", "1", "--device", "cuda", "--logs", logs)
			cmd.Env = append(gputest.Env(t, set), asCommand+"=1")
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			require.True(t, errors.As(err, &exit), "%v", err)
			assert.Equal(t, 2, exit.ExitCode())
			assert.True(t, strings.HasPrefix(string(out), "train: --device: device cuda: "), string(out))
			assert.Contains(t, string(out), says)
			assert.Equal(t, 1, strings.Count(string(out), "\n"), string(out))
			assert.NoDirExists(t, logs)
		})
	}
}
