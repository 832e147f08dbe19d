package clip

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// trainingGradients are the loss and every gradient of a step on the goldens' batch, and a number drawn after it.
func trainingGradients(t *testing.T, m *Model, bfloat16 bool) (loss, drawn float64, grads map[string][]float32) {
	t.Helper()
	torch.ManualSeed(3)
	m.SetTraining(true)
	defer m.SetTraining(false)
	before := settled.Count(torch.LiveTensors)
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		if bfloat16 {
			s.Autocast(torch.CPU, torch.BFloat16)
		}
		l := m.Loss(golden.Pixels(s, "pixels", m.Config), golden.Tokens(s, "tokens", m.Config))
		loss = l.Item()
		l.Backward()
		drawn = torch.Rand(s, torch.CPU, 1).Item()
	}))
	assert.Equal(t, before, torch.LiveTensors())
	grads = map[string][]float32{}
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.Parameters() {
			if g := torch.Grads(s, []*torch.Tensor{p})[0]; g != nil {
				grads[key] = torch.ToSlice[float32](g.To(torch.CPU, torch.Float32))
			}
			torch.ZeroGrad([]*torch.Tensor{p})
		}
	}))
	return loss, drawn, grads
}

// TestGradCheckpointing holds loss and gradients against those of a step that keeps everything, for every kind of tower,
// in float32 and bfloat16, with patch dropout, a RoBERTa's dropout and locks.
func TestGradCheckpointing(t *testing.T) {
	for name, c := range golden.Variants(t) {
		for _, how := range []struct {
			name     string
			bfloat16 bool
			prepare  func(m *Model) error
		}{
			{name: "float32", prepare: func(*Model) error { return nil }},
			{name: "bfloat16", bfloat16: true, prepare: func(*Model) error { return nil }},
			{name: "patch dropout", prepare: func(m *Model) error { return m.SetPatchDropout(0.5) }},
			{name: "locked but the top", prepare: func(m *Model) error {
				if err := m.LockImage(2, false); err != nil {
					return err
				}
				return m.LockText(2, true)
			}},
			{name: "whole towers locked", bfloat16: true, prepare: func(m *Model) error {
				if err := m.LockImage(0, false); err != nil {
					return err
				}
				return m.LockText(0, false)
			}},
		} {
			v := c.Vision
			if v.IsResNet() || v.IsFastViT() || (v.IsConvNeXt() || v.IsEva() || v.IsSwin() || name == "relpos") && how.name == "patch dropout" {
				continue
			}
			t.Run(name+"/"+how.name, func(t *testing.T) {
				m := goldenModel(t, c)
				require.NoError(t, how.prepare(m))
				loss, drawn, grads := trainingGradients(t, m, how.bfloat16)
				require.NotEmpty(t, grads)
				require.NoError(t, m.SetGradCheckpointing(true))
				again, drawnAgain, regrads := trainingGradients(t, m, how.bfloat16)
				assert.Equal(t, loss, again)
				assert.Equal(t, drawn, drawnAgain, "the generator stands where it would")
				assert.Len(t, regrads, len(grads))
				for key, want := range grads {
					assert.InDeltaSlice(t, want, regrads[key], 1e-6, key)
				}
			})
		}
	}
}

// TestGradCheckpointingRuns counts what is computed twice: the blocks of both towers in training, nothing without
// gradients or in evaluation. A parameter that is written between the two runs tells, because the backward pass refuses.
func TestGradCheckpointingRuns(t *testing.T) {
	m := goldenModel(t, golden.Variants(t)["eos"])
	require.NoError(t, m.SetGradCheckpointing(true))
	step := func(training bool) error {
		m.SetTraining(training)
		return torch.Do(func(s *torch.Scope) {
			loss := m.Loss(golden.Pixels(s, "pixels", m.Config), golden.Tokens(s, "tokens", m.Config))
			s.NoGrad(func(s *torch.Scope) { s.Alias(m.Text.(*tower.Text).Transformer.Blocks[0].MLP.Fc.Bias).MulInPlace(1) })
			loss.Backward()
		})
	}
	require.ErrorContains(t, step(true), "modified by an inplace operation")
	require.NoError(t, step(false))
	require.NoError(t, m.SetGradCheckpointing(false))
	require.NoError(t, step(true))
}

func TestGradCheckpointingRefusesResNet(t *testing.T) {
	m := goldenModel(t, golden.Variants(t)["resnet"])
	m.Name = "RN50"
	err := m.SetGradCheckpointing(true)
	require.ErrorContains(t, err, "RN50 has a ResNet for a tower")
	assert.True(t, strings.HasPrefix(err.Error(), "clip: "))
	require.NoError(t, m.SetGradCheckpointing(false))
}
