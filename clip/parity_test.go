package clip

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
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
)

// tolerance is relative to the largest value of the tensor.
const tolerance = 1e-5

// worst is the largest difference, relative to the largest expected value.
func worst(want, got []float32, largest float64) float64 {
	d := 0.0
	for i := range want {
		d = math.Max(d, math.Abs(float64(want[i])-float64(got[i])))
	}
	return d / largest
}

func largest(xs []float32) float64 {
	m := 0.0
	for _, x := range xs {
		m = math.Max(m, math.Abs(float64(x)))
	}
	return m
}

// TestParity holds features, loss and every parameter's gradient against open_clip 3.3.0.
func TestParity(t *testing.T) {
	for _, name := range []string{"tiny", "tiny-quickgelu", "emoji-64", "ViT-S-32-alt"} {
		t.Run(name, func(t *testing.T) {
			c, g := golden.Config(t, name), golden.Open(t, name)
			m := goldenModel(t, c)
			before := settled.Count(torch.LiveTensors)
			require.NoError(t, torch.Do(func(s *torch.Scope) {
				pixels, tokens := golden.Pixels(s, "pixels", c), golden.Tokens(s, "tokens", c)
				for part, got := range map[string]*torch.Tensor{"image_features": m.EncodeImage(pixels), "text_features": m.EncodeText(tokens)} {
					want := g.Floats(part)
					assert.LessOrEqual(t, worst(want, torch.ToSlice[float32](got.Detach()), largest(want)), tolerance, part)
				}
				loss := m.Loss(pixels, tokens)
				assert.InEpsilon(t, g.Floats("loss")[0], loss.Item(), tolerance)
				loss.Backward()
			}))
			assert.Equal(t, before, torch.LiveTensors())
			checkGradients(t, m, g)
		})
	}
}

func checkGradients(t *testing.T, m *Model, g golden.File) {
	overall, of := 0.0, ""
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.Parameters() {
			got := torch.ToSlice[float32](torch.Grads(s, []*torch.Tensor{p})[0])
			want, top := g.Floats("grad."+key), float64(g.Floats("max." + key)[0])
			stride := max(1, len(got)/64)
			if len(want) == len(got) {
				stride = 1
			}
			var sample []float32
			for i := 0; i < len(got); i += stride {
				sample = append(sample, got[i])
			}
			require.Len(t, sample, len(want), key)
			d := math.Max(worst(want, sample, top), math.Abs(largest(got)-top)/top)
			assert.LessOrEqual(t, d, tolerance, key)
			norm := 0.0
			for _, x := range got {
				norm += float64(x) * float64(x)
			}
			assert.InEpsilon(t, g.Floats("norm." + key)[0], math.Sqrt(norm), tolerance, key)
			if d > overall {
				overall, of = d, key
			}
		}
	}))
	t.Logf("the largest difference of a gradient is %.1e of the tensor's largest value, in %s", overall, of)
}

// TestParameterCounts holds every key and shape of every built-in config against open_clip's.
func TestParameterCounts(t *testing.T) {
	data, err := os.ReadFile("../testdata/clip/params.json")
	require.NoError(t, err)
	var want map[string]struct {
		Parameters int
		State      string // of the lines "KEY [SHAPE]", sorted, the beginning of the SHA-256
	}
	require.NoError(t, json.Unmarshal(data, &want))
	published := map[string]int{"ViT-B-32": 151_277_313, "ViT-B-16": 149_620_737, "ViT-L-14": 427_616_513,
		"RN50": 102_007_137, "RN101": 119_688_033, "RN50x4": 178_300_601, "RN50x16": 290_979_217, "RN50x64": 623_258_305,
		"roberta-ViT-B-32": 212_723_457}
	assert.Len(t, want, len(tower.ConfigNames()))
	for _, name := range tower.ConfigNames() {
		c, err := tower.LookupConfig(name)
		require.NoError(t, err, name)
		m := allocate(c) // libtorch reserves the memory, and hardly any of it is touched
		assert.Equal(t, want[name].Parameters, m.NumParameters(), name)
		if n, ok := published[name]; ok {
			assert.Equal(t, n, m.NumParameters(), name)
		}
		var lines []string
		for key, p := range m.State() {
			lines = append(lines, fmt.Sprintf("%s [%s]\n", key, strings.ReplaceAll(strings.Trim(fmt.Sprint(p.Shape()), "[]"), " ", ", ")))
			p.Free()
		}
		slices.Sort(lines)
		digest := sha256.Sum256([]byte(strings.Join(lines, "")))
		assert.Equal(t, want[name].State, hex.EncodeToString(digest[:8]), name)
	}
}
