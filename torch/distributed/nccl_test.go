//go:build cuda

package distributed

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/torch"
)

// TestNCCLNeedsADevice needs no GPU.
func TestNCCLNeedsADevice(t *testing.T) {
	want := "distributed: the backend nccl joins CUDA devices, and this process's device is cpu; choose gloo, or a CUDA device"
	if _, err := torch.ParseDevice("cuda"); err != nil {
		want = fmt.Sprintf("distributed: the backend nccl cannot be used here: %v and the backend gloo", err)
	}
	_, err := Init(t.Context(), World{Size: 1}, Options{Backend: "nccl", Device: torch.CPU})
	assert.EqualError(t, err, want)
}

func TestNCCLOfOneRank(t *testing.T) {
	d := gputest.GPU(t)
	oneRank(t, "nccl", d, d.String())
}

// twoGPUs skips a test of two ranks, of which NCCL wants each on a device of its own.
func twoGPUs(t *testing.T) {
	gputest.GPU(t)
	if _, n, err := torch.CUDA(); err != nil || n < 2 {
		t.Skip("needs 2 GPUs: NCCL refuses two ranks on one")
	}
}

func TestNCCLOfTwoRanks(t *testing.T) {
	twoGPUs(t)
	for _, task := range []string{"collectives", "gather", "reduce"} {
		for _, r := range start(t, 2, task, map[string]string{"BACKEND": "nccl"}) {
			r.well(t)
		}
	}
}

// TestNCCLKilledRank kills a rank amid the collectives: the other's result is an error that names it.
func TestNCCLKilledRank(t *testing.T) {
	twoGPUs(t)
	dir := t.TempDir()
	ranks := start(t, 2, "wait", map[string]string{"BACKEND": "nccl", "READY": dir})
	for i := range ranks {
		require.Eventually(t, func() bool { _, err := os.Stat(fmt.Sprint(dir, "/", i)); return err == nil }, 2*time.Minute, 10*time.Millisecond)
	}
	require.NoError(t, ranks[1].Process.Signal(syscall.SIGKILL))
	ranks[0].fails(t, "it ended without a word: it was killed, or it crashed")
	_ = ranks[1].Wait()
}
