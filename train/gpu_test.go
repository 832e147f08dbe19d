package train

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/torch"
)

func init() {
	if os.Getenv("STUB_DEVICES") != "" { // a stand-in is no faster than the CPU
		cudaSide = 64
	}
}

// TestScalerOnGPU trains in float16: the losses are those of the CPU, and a factor with which the gradients
// overflow is halved, without a change of the weights.
func TestScalerOnGPU(t *testing.T) {
	device := gputest.GPU(t)
	run := func(d torch.Device, precision string, factor float64) (losses []float64, r *stepper) {
		r = smallRun(t, `{"embed_dim":16,"vision_cfg":`+plainViT+`,"text_cfg":`+smallText+`}`)
		require.NoError(t, r.model.To(d))
		r.device, r.precision, r.clipNorm = d, choosePrecision(precision, d), 1
		if r.precision.scales {
			r.scaler = &scaler{Factor: factor}
		}
		r.optimise()
		b := randomBatch(r, 24)
		for i := range 6 {
			m, err := r.micro(part(r, b, i%3*8, (i%3+1)*8))
			require.NoError(t, err)
			out, err := r.step([]*micro{m}, common{n: 8})
			require.NoError(t, err)
			r.optimiser.ZeroGrad()
			m.free()
			losses = append(losses, out.loss)
			if factor > 1e6 {
				assert.False(t, out.good(), "step %d", i)
			}
		}
		return losses, r
	}
	weights := func(r *stepper) []float32 {
		return torch.ToSlice[float32](r.model.Visual.(*tower.ViT).Proj.To(torch.CPU, torch.Float32))
	}
	exact, _ := run(torch.CPU, "fp32", 1)
	want, _ := run(torch.CPU, "amp", 1024)
	have, r := run(device, "amp", 1024)
	assert.InDelta(t, exact[0], have[0], 1e-2)
	assert.InDeltaSlice(t, want, have, 0.1, "rounding, which grows with the steps")
	assert.Equal(t, scaler{Factor: 1024, Good: 6}, *r.scaler)

	_, r = run(device, "amp", 1<<60)
	assert.Equal(t, scaler{Factor: 1 << 54}, *r.scaler)
	fresh := smallRun(t, `{"embed_dim":16,"vision_cfg":`+plainViT+`,"text_cfg":`+smallText+`}`)
	assert.Equal(t, weights(fresh), weights(r))
}

// TestStepOnGPU does steps, for TestGPUStandIn to see what the host waits for.
func TestStepOnGPU(t *testing.T) {
	device := gputest.GPU(t)
	r := smallRun(t, `{"embed_dim":16,"vision_cfg":`+plainViT+`,"text_cfg":`+smallText+`}`)
	require.NoError(t, r.model.To(device))
	r.device, r.precision, r.clipNorm = device, choosePrecision("auto", device), 1
	r.optimise()
	transform, err := r.model.Transform()
	require.NoError(t, err)
	b := randomBatch(r, 8)
	c := transform.Config()
	for i := range b.Pixels { // of bytes, as an image's are
		channel := i / (32 * 32) % 3
		b.Pixels[i] = (float32(i%256)/255 - c.Mean[channel]) / c.Std[channel]
	}
	for range 3 {
		fmt.Fprintln(os.Stderr, "a step begins")
		m, err := r.micro(b)
		require.NoError(t, err)
		_, err = r.step([]*micro{m}, common{n: 8})
		require.NoError(t, err)
		r.optimiser.ZeroGrad()
		m.free()
		fmt.Fprintln(os.Stderr, "a step ends")
	}
}

// TestGPUStandIn trains on the stand-in. A step sends its images as bytes, and the host waits for the device once, to read
// what came out.
func TestGPUStandIn(t *testing.T) {
	gputest.Run(t, "^(TestStepsOnGPU|TestScalerOnGPU)$")
	gputest.Run(t, "^(TestLockedRuns|TestResumeIsExact|TestTunedRuns|TestDistillation)$", "GOCLIP_TEST_DEVICE=cuda")
	steps := regexp.MustCompile(`(?s)a step begins\n(.*?)a step ends`).FindAllStringSubmatch(gputest.Run(t, "^TestStepOnGPU$", "STUB_TRACE=1"), -1)
	require.Len(t, steps, 3)
	for _, step := range steps {
		waits := regexp.MustCompile(`the host (?:sends|reads) .* and waits`).FindAllString(step[1], -1)
		assert.Equal(t, []string{fmt.Sprintf("the host reads %d bytes of Double on stream 0 and waits", 8*outcomes)}, waits)
		assert.Contains(t, step[1], fmt.Sprintf("the host sends %d bytes of Byte on stream 1\n", 8*3*32*32))
		assert.Zero(t, strings.Count(step[1], fmt.Sprintf("%d bytes of Float", 4*8*3*32*32)), "images are no numbers on the way")
	}
}
