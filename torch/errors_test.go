package torch_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/goclip/goclip/torch"
)

// TestErrDeviceLost tells errors that stay from those after which the device continues.
func TestErrDeviceLost(t *testing.T) {
	for message, want := range map[string]bool{
		"CUDA error: device-side assert triggered":                               true,
		"CUDA error: an illegal memory access was encountered":                   true,
		"CUDA error: uncorrectable ECC error encountered":                        true,
		"CUDA error: operation failed due to a previous error during capture":    false,
		"CUDA out of memory. Tried to allocate 2.00 GiB.":                        false,
		"the shape [3] takes 24 bytes, not 16":                                   false,
		"no kernel: device-side assert triggered is what the caller's text says": false,
	} {
		err := fmt.Errorf("clip: %w", &torch.Error{Op: "linear", Msg: message})
		assert.Equal(t, want, errors.Is(err, torch.ErrDeviceLost), message)
	}
	assert.False(t, errors.Is(&torch.Error{Msg: "CUDA error: misaligned address"}, errors.ErrUnsupported))
}
