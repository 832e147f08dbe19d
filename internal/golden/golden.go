// Package golden has what the goldens of testdata/clip are compared by: the weights and inputs that
// testdata/clip/formula.py computes as well, the configs, and the files with open_clip's results. Only tests
// import it.
package golden

import (
	"encoding/json"
	"hash/fnv"
	"iter"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/timm"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// The formulas of testdata/clip/formula.py: weights and inputs that both sides compute.

// Uniform is count numbers in [-1, 1) that the key alone decides.
func Uniform(key string, count int) []float64 {
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

// Weight returns a tensor of the state dict.
func Weight(key string, shape []int) []float32 {
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
	for i, u := range Uniform(key, n) {
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

// Batch is how many images and texts a batch has.
const Batch = 8

// Pixels is (Batch, 3, H, W).
func Pixels(s *torch.Scope, key string, c *tower.Config) *torch.Tensor {
	size := c.Vision.PixelSize()
	h, w := size.Height, size.Width
	data := make([]float32, Batch*3*h*w)
	for i, u := range Uniform(key, len(data)) {
		data[i] = float32(1.5 * u)
	}
	return torch.FromSlice(s, data, Batch, 3, h, w)
}

// Tokens is (Batch, L) int64, texts of several lengths.
func Tokens(s *torch.Scope, key string, c *tower.Config) *torch.Tensor {
	length, vocab := c.Text.ContextLength, c.Text.VocabSize
	u := Uniform(key, Batch*length)
	ids := make([]int64, Batch*length)
	for row := range Batch {
		n := min(length, 4+3*row)
		if row == Batch-1 {
			n = length
		}
		line := ids[row*length : (row+1)*length]
		for i := range n {
			line[i] = 1 + int64((u[row*length+i]+1)/2*float64(vocab-3))
		}
		line[0], line[n-1] = int64(vocab-2), int64(vocab-1)
		if hf, ok := c.Text.Encoder(); ok && hf.PadID == 1 {
			asRoberta(line, n, vocab)
		}
	}
	return torch.FromSlice(s, ids, Batch, length)
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

// Fill gives the tensors of a state dict the formula's weights.
func Fill(t *testing.T, c *tower.Config, state iter.Seq2[string, *torch.Tensor]) {
	t.Helper()
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range state {
			if p.DType() != torch.Float32 || key == "visual.positional_embedding" && c.Vision.PosEmbedType == "sin_cos_2d" {
				continue // a count, and a formula of the model's own
			}
			s.Alias(p).CopyFrom(torch.FromSlice(s, Weight(key, p.Shape()), p.Shape()...))
		}
	}))
}

// Config returns a built-in config without patch dropout, or "tiny" and "tiny-quickgelu".
func Config(t *testing.T, name string) *tower.Config {
	t.Helper()
	base, quick := strings.CutSuffix(name, "-quickgelu")
	if base != "tiny" {
		c, err := tower.LookupConfig(name)
		require.NoError(t, err)
		c.Vision.PatchDropout = 0
		return c
	}
	data, err := os.ReadFile(Path("tiny.json"))
	require.NoError(t, err)
	c, err := tower.ParseConfig(data)
	require.NoError(t, err)
	c.QuickGELU = quick
	return c
}

// File is a file of goldens.
type File struct {
	t *testing.T
	f *checkpoint.File
}

// Open opens a file of goldens by its name.
func Open(t *testing.T, name string) File {
	t.Helper()
	f, err := checkpoint.Open(Path(name + ".safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return Of(t, f)
}

// Of returns a file that is open already.
func Of(t *testing.T, f *checkpoint.File) File { return File{t, f} }

// Names returns the tensors of the file.
func (g File) Names() []string { return g.f.Names() }

// Has reports whether the file has a tensor.
func (g File) Has(name string) bool {
	_, ok := g.f.Entry(name)
	return ok
}

// Floats returns a float32 tensor of the file.
func (g File) Floats(name string) (out []float32) {
	g.t.Helper()
	e, ok := g.f.Entry(name)
	require.True(g.t, ok, name)
	require.NoError(g.t, torch.NoGrad(func(s *torch.Scope) { out = torch.ToSlice[float32](e.Tensor(s)) }))
	return out
}

// Doubles returns a tensor of the file, of any floating type, as float64.
func (g File) Doubles(name string) (out []float64) {
	g.t.Helper()
	e, ok := g.f.Entry(name)
	require.True(g.t, ok, name)
	require.NoError(g.t, torch.NoGrad(func(s *torch.Scope) { out = torch.ToSlice[float64](e.Tensor(s).To(torch.CPU, torch.Float64)) }))
	return out
}

// Ints returns an int64 tensor of the file.
func (g File) Ints(name string) (out []int64) {
	g.t.Helper()
	e, ok := g.f.Entry(name)
	require.True(g.t, ok, name)
	require.NoError(g.t, torch.NoGrad(func(s *torch.Scope) { out = torch.ToSlice[int64](e.Tensor(s)) }))
	return out
}

// timmVariants are timm's vision transformers of testdata/clip/variants.py and make_hf.py.
var timmVariants = map[string]timm.ViT{
	"vit_mini_siglip":      {Image: 24, Patch: 8, Width: 16, Depth: 2, Heads: 2, MLPRatio: 4, Pool: "map", Tanh: false},
	"naflexvit_mini":       {Image: 24, Patch: 8, Width: 16, Depth: 2, Heads: 2, MLPRatio: 4, Pool: "map", Tanh: true, NaFlex: true},
	"vit_tiny":             {Image: 24, Patch: 8, Width: 32, Depth: 2, Heads: 2, MLPRatio: 4, Pool: "token", Tanh: false},
	"vit_tiny_siglip":      {Image: 24, Patch: 8, Width: 32, Depth: 2, Heads: 2, MLPRatio: 4, Pool: "map", Tanh: false},
	"vit_tiny_siglip_tanh": {Image: 24, Patch: 8, Width: 32, Depth: 2, Heads: 2, MLPRatio: 4, Pool: "map", Tanh: true},
	"vit_mini_clip":        {Image: 24, Patch: 8, Width: 32, Depth: 2, Heads: 2, MLPRatio: 4, Pool: "token", PreNorm: true, Eps: 1e-5},
	"vit_mini_gap":         {Image: 24, Patch: 8, Width: 32, Depth: 2, Heads: 2, MLPRatio: 4, Pool: "avg", NoQKVBias: true, LayerScale: 0.1},
	"vit_mini_relpos":      {Image: 24, Patch: 8, Width: 32, Depth: 2, Heads: 8, MLPRatio: 4, Pool: "token", NoQKVBias: true, LayerScale: 0.1, Relative: 12},
	"vit_mini_mci":         {Image: 32, Patch: 16, Width: 32, Depth: 2, Heads: 2, MLPRatio: 4, Pool: "token", Convolutions: []int{8, 8, 32}},
	"vitamin_mini": {Image: 32, Patch: 16, Width: 32, Depth: 2, Heads: 2, MLPRatio: 2, Pool: "avg", NormAfterPool: true, Gated: true,
		MBConvs: []int{8, 16}},
	"vitamin_mini_xl": {Image: 32, Patch: 16, Width: 32, Depth: 2, Heads: 2, MLPRatio: 2, Pool: "avg", NormAfterPool: true, Gated: true,
		MBConvs: []int{8, 16}, NoPositions: true},
}

// convNeXtVariants are timm's ConvNeXts of testdata/clip/variants.py.
var convNeXtVariants = map[string]timm.ConvNeXt{
	"convnext_mini":      {Depths: [4]int{1, 1, 2, 1}, Widths: [4]int{8, 16, 24, 32}, Eps: 1e-6},
	"convnext_mini_eps5": {Depths: [4]int{1, 2, 1, 1}, Widths: [4]int{8, 12, 16, 32}, Eps: 1e-5},
}

// evaVariants are timm's EVAs of testdata/clip/variants.py.
var evaVariants = map[string]timm.Eva{
	"eva_mini":        {Image: 24, Patch: 8, Width: 32, Depth: 2, Heads: 2, MLPRatio: 2.5, Kind: timm.EvaPlain},
	"eva_mini_post":   {Image: 24, Patch: 8, Width: 32, Depth: 2, Heads: 2, MLPRatio: 4, Kind: timm.EvaPost},
	"eva_mini_swiglu": {Image: 24, Patch: 8, Width: 32, Depth: 2, Heads: 2, MLPRatio: 8.0 / 3, Kind: timm.EvaSwiGLU, RotaryGrid: 4},
	"pe_mini":         {Image: 32, Patch: 8, Width: 32, Depth: 2, Heads: 2, MLPRatio: 4, Kind: timm.EvaPE, RotaryGrid: 3},
	"pe_mini_big":     {Image: 24, Patch: 8, Width: 32, Depth: 2, Heads: 2, MLPRatio: 3.5, Kind: timm.EvaPE, RotaryGrid: 4, NoClass: true},
}

// fastViTVariants are timm's FastViTs of testdata/clip/variants.py.
var fastViTVariants = map[string]timm.FastViT{
	"fastvit_mini":  {Depths: []int{1, 2, 1, 2}, Widths: []int{8, 16, 32, 64}, MLPRatio: 3, Attention: 3, Excite: 2},
	"fastvit_mini2": {Depths: []int{1, 1, 1, 1, 2}, Widths: []int{8, 8, 16, 32, 64}, MLPRatio: 4, Attention: 3, Second: true},
}

// swinVariants are timm's Swin transformers of testdata/clip/variants.py.
var swinVariants = map[string]timm.Swin{
	"swin_mini": {Image: 64, Patch: 2, Window: 4, Width: 8, Depths: [4]int{2, 2, 1, 1}, Heads: [4]int{1, 2, 2, 4}},
}

// UseVariants makes timm's tiny towers known.
func UseVariants() {
	maps.Copy(timm.ViTs, timmVariants)
	maps.Copy(timm.ConvNeXts, convNeXtVariants)
	maps.Copy(timm.Evas, evaVariants)
	maps.Copy(timm.FastViTs, fastViTVariants)
	maps.Copy(timm.Swins, swinVariants)
}

// Variants returns the tiny configs of testdata/clip/variants.json.
func Variants(t *testing.T) map[string]*tower.Config {
	t.Helper()
	UseVariants()
	configs := map[string]*tower.Config{}
	for name, text := range VariantTexts(t) {
		c, err := tower.ParseConfig(text)
		require.NoError(t, err, name)
		configs[name] = c
	}
	return configs
}

// VariantTexts are the same as JSON.
func VariantTexts(t *testing.T) (texts map[string]json.RawMessage) {
	t.Helper()
	data, err := os.ReadFile(Path("variants.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &texts))
	return texts
}

// Path returns a file of testdata/clip, for the tests of any package.
func Path(name string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "testdata", "clip", name)
}
