package clip_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

// TestDefaultPrecision is float32 on the CPU; that of GPUs follows [torch.Device.HasBFloat16], which
// package torch tests against devices of three generations.
func TestDefaultPrecision(t *testing.T) {
	assert.Equal(t, clip.FP32, clip.DefaultPrecision(torch.CPU))
	assert.Equal(t, clip.FP32, clip.DefaultPrecision(torch.Device{}))
}
