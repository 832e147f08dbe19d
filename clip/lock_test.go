package clip

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/torch/optim"
)

// lockGoldens are what testdata/clip/make_locks.py writes of a variant.
type lockGoldens struct {
	Image          [][]string `json:"image"`
	Text           [][]string `json:"text"`
	TextNormsLearn [][]string `json:"text_norms_learn"` // without --lock-text-freeze-layer-norm
	FrozenLoss     float64    `json:"frozen_statistics_loss"`
}

func openLockGoldens(t *testing.T) (locks map[string]lockGoldens) {
	t.Helper()
	data, err := os.ReadFile("../testdata/clip/locks.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &locks))
	return locks
}

// learning is the sorted keys of a tower that learn.
func learning(m *Model, image bool) (keys []string) {
	for key, p := range m.Parameters() {
		if p.RequiresGrad() && strings.HasPrefix(key, "visual.") == image && !strings.HasPrefix(key, "logit_") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// TestLock holds what learns, for every kind of tower and count of groups, against open_clip 3.3.0.
func TestLock(t *testing.T) {
	goldens := openLockGoldens(t)
	for name, c := range golden.Variants(t) {
		t.Run(name, func(t *testing.T) {
			g := goldens[name]
			require.NotEmpty(t, g.Image, "testdata/clip/make_locks.py makes them")
			m := allocate(c)
			lock := func(which string, image bool, lists [][]string, lock func(count int) error) {
				require.NoError(t, lock(len(lists))) // each call stands in place of the one before
				other := learning(m, !image)
				var want []string
				for count, list := range lists {
					for key := range m.Parameters() {
						if slices.ContainsFunc(list, func(s string) bool { return key == s || strings.HasPrefix(key, s+".") }) && !slices.Contains(want, key) {
							want = append(want, key)
						}
					}
					slices.Sort(want)
					require.NoError(t, lock(count))
					assert.Equal(t, want, learning(m, image), "%s, %d groups", which, count)
				}
				assert.Equal(t, other, learning(m, !image), "the other tower")
			}
			lock("image", true, g.Image, func(n int) error { return m.LockImage(n, false) })
			lock("text", false, g.Text, func(n int) error { return m.LockText(n, true) })
			norms := g.Text // CLIP's own tower has no other way
			if g.TextNormsLearn != nil {
				norms = g.TextNormsLearn
			}
			lock("text, LayerNorm learns", false, norms, func(n int) error { return m.LockText(n, false) })
			assert.ErrorContains(t, m.LockImage(-1, false), "-1 unlocked groups")
			assert.ErrorContains(t, m.LockText(-1, false), "-1 unlocked layers")
			assert.True(t, m.LogitScale.RequiresGrad())
		})
	}
}

// TestLockResNetGroups is what goclip adds: open_clip 3.3.0 unlocks no group of a ResNet.
func TestLockResNetGroups(t *testing.T) {
	m := allocate(golden.Variants(t)["resnet"])
	var known []string
	for count, stage := range []string{"", "visual.attnpool.", "visual.layer4.", "visual.layer3.", "visual.layer2.", "visual.layer1.", "visual.", "none"} {
		require.NoError(t, m.LockImage(count, true))
		now := learning(m, true)
		for _, key := range now {
			assert.True(t, slices.Contains(known, key) || stage != "" && strings.HasPrefix(key, stage), "%d groups: %s", count, key)
		}
		for key, p := range m.Parameters() {
			if stage != "" && strings.HasPrefix(key, stage) {
				assert.True(t, p.RequiresGrad(), "%d groups: %s", count, key)
			}
		}
		known = now
		for _, bn := range norms(m.Visual.(*tower.ResNet)) {
			assert.Equal(t, !bn.Weight.RequiresGrad(), bn.Frozen, "%d groups", count)
		}
	}
	require.NoError(t, m.LockImage(0, false))
	for _, bn := range norms(m.Visual.(*tower.ResNet)) {
		assert.False(t, bn.Frozen)
	}
}

// TestFrozenStatistics holds a step with frozen statistics against open_clip's, and the statistics against themselves.
func TestFrozenStatistics(t *testing.T) {
	c := golden.Variants(t)["resnet"]
	for _, frozen := range []bool{true, false} {
		m := goldenModel(t, c)
		require.NoError(t, m.LockImage(0, frozen))
		m.SetTraining(true)
		before := values(t, m.State())
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			loss := m.Loss(golden.Pixels(s, "pixels", c), golden.Tokens(s, "tokens", c))
			if frozen {
				assert.InEpsilon(t, openLockGoldens(t)["resnet"].FrozenLoss, loss.Item(), tolerance)
			}
			loss.Backward()
		}))
		for key, now := range values(t, m.State()) {
			moves := !frozen && (strings.Contains(key, "running_") || strings.Contains(key, "num_batches"))
			assert.Equal(t, !moves, slices.Equal(before[key], now), key)
		}
	}
}

// values copies tensors by their keys, as float32.
func values(t *testing.T, tensors func(func(string, *torch.Tensor) bool)) map[string][]float32 {
	t.Helper()
	out := map[string][]float32{}
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range tensors {
			out[key] = torch.ToSlice[float32](s.Alias(p).To(torch.CPU, torch.Float32))
		}
	}))
	return out
}

// gradients runs a batch forward and backward and gives the gradients that there are.
func gradients(t *testing.T, m *Model) map[string][]float32 {
	t.Helper()
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		m.Loss(golden.Pixels(s, "pixels", m.Config), golden.Tokens(s, "tokens", m.Config)).Backward()
	}))
	out := map[string][]float32{}
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.Parameters() {
			if g := torch.Grads(s, []*torch.Tensor{p})[0]; g != nil {
				out[key] = torch.ToSlice[float32](g)
			}
			torch.ZeroGrad([]*torch.Tensor{p})
		}
	}))
	return out
}

// locks are one of each kind: a tower whole, a tower but for its top, both towers but for their tops.
var locks = map[string]func(m *Model) error{
	"none":               func(*Model) error { return nil },
	"image":              func(m *Model) error { return m.LockImage(0, false) },
	"image but 1":        func(m *Model) error { return m.LockImage(1, false) },
	"image but 2":        func(m *Model) error { return m.LockImage(2, true) },
	"text":               func(m *Model) error { return m.LockText(0, true) },
	"text but LayerNorm": func(m *Model) error { return m.LockText(0, false) },
	"text but 2":         func(m *Model) error { return m.LockText(2, true) },
	"both but 1": func(m *Model) error {
		if err := m.LockImage(1, false); err != nil {
			return err
		}
		return m.LockText(1, true)
	},
}

// TestLockedGradients finds, for what still learns, the gradients of the model without a lock, and no others. They are
// not all bit-equal: libtorch takes another kernel for the attention of one query where no gradient is needed.
func TestLockedGradients(t *testing.T) {
	for name, c := range golden.Variants(t) {
		want := gradients(t, goldenModel(t, c))
		for which, lock := range locks {
			t.Run(name+"/"+which, func(t *testing.T) {
				m := goldenModel(t, c)
				require.NoError(t, lock(m))
				before := settled.Count(torch.LiveTensors)
				got := gradients(t, m)
				assert.Equal(t, before, torch.LiveTensors())
				for key, p := range m.Parameters() {
					_, there := got[key]
					require.Equal(t, p.RequiresGrad(), there, key)
					if !there || want[key] == nil { // nil: fixed positions, which only a lock lets learn
						continue
					}
					if strings.HasSuffix(key, "k_proj.bias") || strings.HasSuffix(key, "self.key.bias") {
						continue // zero, and rounding
					}
					if top := largest(want[key]); top > 0 {
						assert.LessOrEqual(t, worst(want[key], got[key], top), tolerance, key)
					} else {
						assert.Zero(t, largest(got[key]), key)
					}
				}
			})
		}
	}
}

// TestLockedCostsNothing finds no graph behind a locked tower, and one that begins where learning does.
func TestLockedCostsNothing(t *testing.T) {
	for name, c := range golden.Variants(t) {
		m := goldenModel(t, c)
		m.SetTraining(true)
		require.NoError(t, m.LockImage(0, true))
		require.NoError(t, m.LockText(0, true))
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			always := func(image bool) bool { return len(learning(m, image)) > 0 } // a projection beside the tower
			assert.Equal(t, always(true), m.EncodeImage(golden.Pixels(s, "pixels", c)).RequiresGrad(), name)
			assert.Equal(t, always(false), m.EncodeText(golden.Tokens(s, "tokens", c)).RequiresGrad(), name)
		}))
	}
}

// TestLockedTraining takes some steps with each lock: what is locked stays as it was, bit for bit, and the rest moves.
func TestLockedTraining(t *testing.T) {
	for name, c := range golden.Variants(t) {
		for which, lock := range locks {
			t.Run(name+"/"+which, func(t *testing.T) {
				m := goldenModel(t, c)
				require.NoError(t, lock(m))
				before := values(t, m.Parameters())
				fit(t, m, 3)
				for key, now := range values(t, m.Parameters()) {
					learns := slices.Contains(slices.Concat(learning(m, true), learning(m, false), []string{"logit_scale", "logit_bias"}), key)
					assert.Equal(t, !learns, slices.Equal(before[key], now), key)
				}
			})
		}
	}
}

// fit takes steps of AdamW on one batch, in training.
func fit(t *testing.T, m *Model, steps int) {
	t.Helper()
	g := optim.Group{WeightDecay: 0.2}
	for key, p := range m.Parameters() {
		if p.RequiresGrad() {
			g.Params = append(g.Params, optim.Param{Name: key, T: p})
		}
	}
	o := optim.NewAdamW([]optim.Group{g}, optim.AdamWOptions{LR: 1e-3, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6})
	m.SetTraining(true)
	defer m.SetTraining(false)
	for range steps {
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			m.Loss(golden.Pixels(s, "pixels", m.Config), golden.Tokens(s, "tokens", m.Config)).Backward()
		}))
		_, err := optim.ClipGradNorm(o.Parameters(), 1)
		require.NoError(t, err)
		require.NoError(t, o.Step())
		o.ZeroGrad()
	}
	assert.Len(t, slices.Collect(maps.Keys(maps.Collect(o.State()))), 3*len(g.Params))
}

// TestLockedDropout finds a locked RoBERTa's dropout on in training, as open_clip leaves it.
func TestLockedDropout(t *testing.T) {
	c := golden.Variants(t)["dual-encoder"]
	m := goldenModel(t, c)
	require.NoError(t, m.LockText(0, true))
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		tokens := golden.Tokens(s, "tokens", c)
		twice := func() (a, b []float32) {
			return torch.ToSlice[float32](m.EncodeText(tokens)), torch.ToSlice[float32](m.EncodeText(tokens))
		}
		a, b := twice()
		assert.Equal(t, a, b)
		m.SetTraining(true)
		a, b = twice()
		assert.NotEqual(t, a, b)
	}))
}

// norms are a ResNet's batch normalisations.
func norms(r *tower.ResNet) []*nn.BatchNorm2d {
	all := []*nn.BatchNorm2d{r.Bn1, r.Bn2, r.Bn3}
	for _, b := range slices.Concat(r.Layer1, r.Layer2, r.Layer3, r.Layer4) {
		all = append(all, b.Bn1, b.Bn2, b.Bn3)
		if b.Downsample != nil {
			all = append(all, b.Downsample.Bn)
		}
	}
	return all
}
