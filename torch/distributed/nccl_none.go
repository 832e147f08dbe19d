//go:build !cuda

package distributed

import (
	"errors"

	"github.com/goclip/goclip/torch"
)

func checkNCCL(torch.Device) error {
	return errors.New("the backend nccl is not built in: make build-cuda builds the commands with it; or train on one GPU, or on CPUs by gloo")
}
