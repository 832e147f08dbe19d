package torch_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestCUDAStub is what TestCUDAOpenedFirst runs in processes of their own: libtorch looks for CUDA
// once.
func TestCUDAStub(t *testing.T) {
	backward := func() {
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			torch.FromSlice(s, []float32{1}, 1).SetRequiresGrad(true).Sum().Backward()
		}))
	}
	switch os.Getenv("GOCLIP_CUDA_STUB") {
	case "":
		t.Skip("is run by TestCUDAOpenedFirst")
	case "config":
		torch.LibraryBuild()
	case "backward":
		backward()
	case "gradients":
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			x := torch.FromSlice(s, []float32{1}, 1).SetRequiresGrad(true)
			torch.Gradients(x.Sum(), x)
		}))
	case "seed":
		torch.ManualSeed(1)
	}
	for _, name := range []string{"auto", "cuda", "cuda:1"} {
		d, err := torch.ParseDevice(name)
		fmt.Fprintf(os.Stderr, "%s: %s, %v; %q\n", name, d, err, torch.FellBack(name, d))
	}
	d := torch.Device{Type: "cuda"}
	if os.Getenv("GOCLIP_CUDA_STUB") == "lost" {
		loseDevice(t)
		return
	}
	n, err := d.Capability()
	fmt.Fprintf(os.Stderr, "capability %d %v, bfloat16 %t, varlen %t\n", n, err, d.HasBFloat16(), d.CanVarlen())
	backward()
}

// loseDevice frees tensors of a device after an error that stays.
func loseDevice(t *testing.T) {
	onDevice, asserts := torch.NewOp("stub::on_device"), torch.NewOp("stub::asserts")
	before := settled.Count(torch.LiveTensors)
	parameter := onDevice.In(nil)
	err := torch.Do(func(s *torch.Scope) {
		onDevice.In(s)
		asserts.Run(s)
	})
	require.ErrorIs(t, err, torch.ErrDeviceLost)
	parameter.Free()
	assert.Equal(t, before, torch.LiveTensors())
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		assert.Equal(t, 3., torch.FromSlice(s, []float32{1, 2}, 2).Sum().Item(), "the CPU is not lost")
	}))
}

// TestCUDAOpenedFirst does first what makes libtorch look for CUDA: whatever it is, libtorch finds
// the devices afterwards, and autograd has counted them.
func TestCUDAOpenedFirst(t *testing.T) {
	run := func(first, devices, capability string) string {
		c := exec.Command(os.Args[0], "-test.run", "^TestCUDAStub$", "-test.v")
		c.Env = gputest.Env(t, "GOCLIP_CUDA_STUB="+first, "STUB_DEVICES="+devices, "STUB_CAPABILITY="+capability)
		out, err := c.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	for _, first := range []string{"parse", "config", "backward", "gradients", "seed"} {
		out := run(first, "2", "90")
		assert.Contains(t, out, "auto: cuda:0, <nil>", first)
		assert.Contains(t, out, "cuda:1: cuda:1, <nil>", first)
		assert.Contains(t, out, "hooks: tf32 0 cudnn attention 0", "%s: float32 is float32 in convolutions", first)
		assert.Contains(t, out, "autograd counts", first)
		assert.Contains(t, out, "capability 90 <nil>, bfloat16 true, varlen true", first)
	}
	out := run("parse", "1", "75")
	assert.Contains(t, out, "auto: cuda:0, <nil>")
	assert.Contains(t, out, "cuda:1: cpu, device cuda:1: this machine has 1 CUDA devices; choose the device cpu")
	assert.Contains(t, out, "capability 75 <nil>, bfloat16 false, varlen false")
	out = run("parse", "1", "70")
	volta := "the GPU has compute capability 7.0, and this libtorch has kernels from 7.5 (Turing) on"
	assert.Contains(t, out, `auto: cpu, <nil>; "running on the CPU: `+volta)
	assert.Contains(t, out, "cuda: cpu, device cuda: "+volta+"; choose the device cpu")
	assert.Contains(t, run("lost", "1", "90"), "ok", "a tensor of a lost device is freed without harm")
	out = run("parse", "0", "0")
	assert.Contains(t, out, `auto: cpu, <nil>; "running on the CPU: CUDA finds no GPU (error 100): check that`)
}
