//go:build cuda

package distributed

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/goclip/goclip/torch"
)

// TestNCCLNeedsADevice needs no GPU, and shows no collective: none of NCCL's has ever been run.
func TestNCCLNeedsADevice(t *testing.T) {
	want := "distributed: the backend nccl joins CUDA devices, and this process's device is cpu; choose gloo, or a CUDA device"
	if _, err := torch.ParseDevice("cuda"); err != nil {
		want = "distributed: the backend nccl cannot be used here: device cuda: this machine has 0 CUDA devices; choose the device cpu and the backend gloo"
	}
	_, err := Init(t.Context(), World{Size: 1}, Options{Backend: "nccl", Device: torch.CPU})
	assert.EqualError(t, err, want)
}
