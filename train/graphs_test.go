package train

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/torch"
)

const plainViT = `{"image_size":32,"layers":2,"width":64,"head_width":32,"patch_size":8}`

// TestCapturedSteps holds steps that are captured and replayed on a GPU against the same steps
// kernel by kernel.
func TestCapturedSteps(t *testing.T) {
	device := gputest.Capturing(t)
	const n, steps = 8, 12
	run := func(captured bool) (losses []float64, weights []float32) {
		r := smallRun(t, `{"embed_dim":16,"vision_cfg":`+plainViT+`,"text_cfg":`+smallText+`}`)
		require.NoError(t, r.model.To(device))
		r.device, r.precision, r.capturing, r.clipNorm = device, choosePrecision("amp_bf16", device), captured, 1
		r.graphs.Max = maxGraphs
		require.True(t, !captured || r.checkGraphs(&Config{AccumFreq: 1}) == "")
		r.optimise()
		b := randomBatch(r, 3*n)
		for i := range steps {
			r.optimiser.SetLR(1e-3 / float64(i+1))
			m, err := r.micro(part(r, b, i%3*n, (i%3+1)*n))
			require.NoError(t, err)
			out, err := r.step([]*micro{m}, common{n: n})
			require.NoError(t, err)
			r.optimiser.ZeroGrad()
			m.free()
			losses = append(losses, out.loss)
		}
		if captured {
			assert.Positive(t, r.graphs.Len())
			assert.Less(t, r.graphs.Len(), 3)
		}
		return losses, torch.ToSlice[float32](r.model.Visual.(*tower.ViT).Proj.To(torch.CPU, torch.Float32))
	}
	plain, plainWeights := run(false)
	captured, weights := run(true)
	assert.InDeltaSlice(t, plain, captured, 2e-2)
	assert.InDeltaSlice(t, plainWeights, weights, 1e-2)
	assert.Less(t, captured[steps-1], captured[0])
}

// TestStepsOnGPU holds steps on a GPU, in float32, against the CPU's.
func TestStepsOnGPU(t *testing.T) {
	device := gputest.GPU(t)
	for name, text := range map[string]string{"clip": smallText, "roberta": smallRoberta} {
		run := func(d torch.Device) (losses []float64) {
			r := smallRun(t, `{"embed_dim":16,"vision_cfg":`+plainViT+`,"text_cfg":`+text+`}`)
			r.model.SetTraining(false) // dropout's noise is another on each device
			require.NoError(t, r.model.To(d))
			r.device, r.clipNorm = d, 1
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
			}
			return losses
		}
		assert.InDeltaSlice(t, run(torch.CPU), run(device), 1e-3, name)
	}
}

// TestCheckGraphs says why a step cannot be captured.
func TestCheckGraphs(t *testing.T) {
	gpu := torch.Device{Type: "cuda"}
	for _, c := range []struct {
		change func(r *stepper)
		want   string
	}{
		{func(r *stepper) {}, "the device is cpu"},
		{func(r *stepper) { r.device = gpu }, "this program is built without CUDA graphs: make build-cuda builds it with them"},
	} {
		r := smallRun(t, `{"embed_dim":16,"vision_cfg":`+plainViT+`,"text_cfg":`+smallText+`}`)
		c.change(r)
		why := r.checkGraphs(&Config{AccumFreq: 1})
		if r.device == gpu && torch.CanCapture() {
			assert.Contains(t, why, "captions must be packed for it", "its weights are on the CPU")
		} else {
			assert.Equal(t, c.want, why)
		}
	}
}

// TestRoomForGraphs leaves captions as they are where no step is captured.
func TestRoomForGraphs(t *testing.T) {
	r := &stepper{}
	assert.Zero(t, r.room(256))
	r.capturing = true
	assert.Equal(t, 64, r.room(8))
	assert.Equal(t, 256, r.room(256))
}
