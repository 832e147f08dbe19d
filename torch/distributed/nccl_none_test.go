//go:build !cuda

package distributed

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNCCLIsNotBuiltIn(t *testing.T) {
	_, err := Init(t.Context(), World{Size: 1}, Options{Backend: "nccl"})
	assert.EqualError(t, err, "distributed: the backend nccl is not built in: make build-cuda builds the commands with it; or train on one GPU, or on CPUs by gloo")
}
