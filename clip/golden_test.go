package clip

import (
	"hash/fnv"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// The formulas of testdata/clip/formula.py: weights and inputs that both sides compute.

func uniform(key string, count int) []float64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	base := h.Sum64()
	u := make([]float64, count)
	for i := range u {
		z := base + uint64(i)*0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		u[i] = float64(z>>40)/(1<<24)*2 - 1
	}
	return u
}

func goldenWeight(key string, shape []int) []float32 {
	n, fanIn := 1, 1
	for i, d := range shape {
		n *= d
		if i > 0 {
			fanIn *= d
		}
	}
	if strings.HasSuffix(key, "visual.proj") || strings.HasSuffix(key, "text_projection") {
		fanIn = shape[0]
	}
	out := make([]float32, n)
	for i, u := range uniform(key, n) {
		switch {
		case key == "logit_scale":
			out[i] = float32(math.Log(1 / 0.07))
		case key == "logit_bias":
			out[i] = -10
		case strings.HasSuffix(key, "bias"), strings.HasSuffix(key, "running_mean"):
			out[i] = float32(0.05 * u)
		case len(shape) == 1 && (strings.HasSuffix(key, "weight") || strings.HasSuffix(key, "gamma") || strings.HasSuffix(key, "running_var")):
			out[i] = float32(1 + 0.1*u)
		case strings.Contains(key, "emb"):
			out[i] = float32(0.03 * u)
		default:
			out[i] = float32(1.7320508 * u / math.Sqrt(float64(fanIn)))
		}
	}
	return out
}

const goldenBatch = 8

func goldenPixels(s *torch.Scope, key string, c *Config) *torch.Tensor {
	h, w := c.Vision.ImageSize.Height, c.Vision.ImageSize.Width
	data := make([]float32, goldenBatch*3*h*w)
	for i, u := range uniform(key, len(data)) {
		data[i] = float32(1.5 * u)
	}
	return torch.FromSlice(s, data, goldenBatch, 3, h, w)
}

func goldenTokens(s *torch.Scope, key string, c *Config) *torch.Tensor {
	length, vocab := c.Text.ContextLength, c.Text.VocabSize
	u := uniform(key, goldenBatch*length)
	ids := make([]int64, goldenBatch*length)
	for row := range goldenBatch {
		n := min(length, 4+3*row)
		if row == goldenBatch-1 {
			n = length
		}
		line := ids[row*length : (row+1)*length]
		for i := range n {
			line[i] = 1 + int64((u[row*length+i]+1)/2*float64(vocab-3))
		}
		line[0], line[n-1] = int64(vocab-2), int64(vocab-1)
		if c.Text.HFModelName != "" {
			asRoberta(line, n, vocab)
		}
	}
	return torch.FromSlice(s, ids, goldenBatch, length)
}

// asRoberta writes the first n tokens of a line as RoBERTa's, begin 0 and end 2, and pads with 1.
func asRoberta(line []int64, n, vocab int) {
	for i := range line {
		if i < n {
			line[i] = 3 + line[i]%int64(vocab-3)
		} else {
			line[i] = 1
		}
	}
	line[0], line[n-1] = 0, 2
}

// goldenModel is a model with the formula's weights.
func goldenModel(t *testing.T, c *Config) *Model {
	t.Helper()
	m := allocate(c)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.State() {
			if p.DType() != torch.Float32 || key == "visual.positional_embedding" && c.Vision.PosEmbedType == "sin_cos_2d" {
				continue // a count, and a formula of the model's own
			}
			s.Alias(p).CopyFrom(torch.FromSlice(s, goldenWeight(key, p.Shape()), p.Shape()...))
		}
	}))
	return m
}

func goldenConfig(t *testing.T, name string) *Config {
	t.Helper()
	base, quick := strings.CutSuffix(name, "-quickgelu")
	if base != "tiny" {
		c, err := LookupConfig(name)
		require.NoError(t, err)
		c.Vision.PatchDropout = 0
		return c
	}
	data, err := os.ReadFile("../testdata/clip/tiny.json")
	require.NoError(t, err)
	c, err := ParseConfig(data)
	require.NoError(t, err)
	c.QuickGELU = quick
	return c
}

type goldens struct {
	t *testing.T
	f *checkpoint.File
}

func openGoldens(t *testing.T, name string) goldens {
	t.Helper()
	f, err := checkpoint.Open("../testdata/clip/" + name + ".safetensors")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return goldens{t, f}
}

func (g goldens) floats(name string) (out []float32) {
	g.t.Helper()
	e, ok := g.f.Entry(name)
	require.True(g.t, ok, name)
	require.NoError(g.t, torch.NoGrad(func(s *torch.Scope) { out = torch.ToSlice[float32](e.Tensor(s)) }))
	return out
}

func (g goldens) ints(name string) (out []int64) {
	g.t.Helper()
	e, ok := g.f.Entry(name)
	require.True(g.t, ok, name)
	require.NoError(g.t, torch.NoGrad(func(s *torch.Scope) { out = torch.ToSlice[int64](e.Tensor(s)) }))
	return out
}
