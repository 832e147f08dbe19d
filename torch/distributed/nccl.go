//go:build cuda

package distributed

import (
	"fmt"

	"github.com/goclip/goclip/torch"
)

// checkNCCL says why NCCL cannot join processes of which this one is on device d.
func checkNCCL(d torch.Device) error {
	if _, err := torch.ParseDevice("cuda"); err != nil {
		return fmt.Errorf("the backend nccl cannot be used here: %w and the backend gloo", err)
	}
	if d.Type != "cuda" {
		return fmt.Errorf("the backend nccl joins CUDA devices, and this process's device is %s; choose gloo, or a CUDA device", d)
	}
	return nil
}
