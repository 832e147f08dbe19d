package clip

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// TestPackedTowers compares the features of packed towers with plain ones: CLIP's own in each activation, a RoBERTa and
// timm's ViT beside it.
func TestPackedTowers(t *testing.T) {
	checkPackedTowers(t, map[torch.Packing]float64{torch.PackFloat32: 1 - 1e-6, torch.PackBFloat16: 0.9999, torch.PackInt8: 0.999})
}

// checkPackedTowers wants features of at least these cosines with those of plain weights.
func checkPackedTowers(t *testing.T, least map[torch.Packing]float64) {
	const text = `"text_cfg":{"context_length":16,"vocab_size":64,"width":64,"heads":2,"layers":2}`
	const vision = `"vision_cfg":{"image_size":32,"layers":3,"width":64,"head_width":32,"patch_size":8}`
	configs := map[string]string{
		"gelu":      `{"embed_dim":32,` + vision + `,` + text + `}`,
		"quickgelu": `{"embed_dim":32,"quick_gelu":true,` + vision + `,` + text + `}`,
		"roberta": `{"embed_dim":32,` + vision + `,"text_cfg":{"context_length":16,"hf_model_name":"roberta-base","hf_tokenizer_name":"roberta-base","hf_pooler_type":"mean_pooler","hf_proj_type":"mlp",
			"hf_model_config":{"vocab_size":64,"hidden_size":32,"num_hidden_layers":2,"num_attention_heads":2,"intermediate_size":48,"max_position_embeddings":20}}}`,
	}
	pixels, tokens := make([]float32, 2*3*32*32), make([]int64, 2*16)
	for i := range pixels {
		pixels[i] = float32(math.Sin(float64(i)))
	}
	copy(tokens, []int64{62, 5, 9, 63})
	copy(tokens[16:], []int64{62, 7, 8, 9, 10, 63})
	for name, config := range configs {
		c, err := tower.ParseConfig([]byte(config))
		require.NoError(t, err)
		for how, atLeast := range least {
			m, err := New(c, 0)
			require.NoError(t, err)
			encode := func() [2][]float32 {
				images, err := m.ImageFeatures(pixels, 2)
				require.NoError(t, err)
				texts, err := m.TextFeatures(tokens, 2)
				require.NoError(t, err)
				return [2][]float32{images, texts}
			}
			plain := encode()
			require.NoError(t, m.PackImages(how))
			images := encode()
			assert.NotEqual(t, plain[0], images[0], "%s: the image tower runs packed", name)
			assert.Equal(t, plain[1], images[1], "%s: the text tower is as it was", name)
			if name == "gelu" { // three blocks and the patches, and no more beside them than biases, scales and sums
				blocks, patches := 3*12*64*64, 64*3*8*8
				exact := map[torch.Packing]int{torch.PackFloat32: 4 * (blocks + patches), torch.PackBFloat16x3: 4 * (blocks + patches), torch.PackBFloat16: 2 * (blocks + patches), torch.PackInt8: blocks + 2*patches}[how]
				if how == torch.PackInt8 && !cpu.X86.HasAVX512BF16 {
					exact += 2 * patches
				}
				assert.GreaterOrEqual(t, m.PackedBytes(), int64(exact), "packing %d", how)
				assert.LessOrEqual(t, m.PackedBytes(), int64(exact+3*8*9*64), "packing %d", how)
			}
			alone := m.PackedBytes()
			require.NoError(t, m.PackTexts(how))
			assert.Greater(t, m.PackedBytes(), alone)
			both := encode()
			for tower := range both {
				for i := 0; i < 64; i += 32 {
					assert.Greater(t, cosine(plain[tower][i:][:32], both[tower][i:][:32]), atLeast, "%s, packing %d, tower %d", name, how, tower)
				}
			}
		}
	}
}

// cosine is that of two normalised features.
func cosine(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// TestPackedTimm compares the image features of timm's towers, packed, with plain ones.
func TestPackedTimm(t *testing.T) {
	checkPackedTimm(t, torch.PackFloat32, 1-1e-6)
	checkPackedTimm(t, torch.PackBFloat16, 0.999)
	checkPackedTimm(t, torch.PackInt8, 0.995)
}

func checkPackedTimm(t *testing.T, how torch.Packing, least float64) {
	for _, name := range []string{"siglip", "siglip-tanh", "convnext", "convnext-mlp", "eva", "eva-post", "eva-swiglu", "pe", "pe-big",
		"mobileclip-b", "mobileclip2-l", "gap", "relpos", "vitamin", "fastvit", "swin"} {
		m := goldenModel(t, golden.Variants(t)[name])
		size := m.Config.Vision.ImageSize
		pixels := make([]float32, 2*3*size.Height*size.Width)
		for i := range pixels {
			pixels[i] = float32(math.Sin(float64(i)))
		}
		want, err := m.ImageFeatures(pixels, 2)
		require.NoError(t, err)
		require.NoError(t, m.PackImages(how))
		got, err := m.ImageFeatures(pixels, 2)
		require.NoError(t, err)
		if how == torch.PackFloat32 || how == torch.PackBFloat16x3 {
			assert.InDeltaSlice(t, want, got, tolerance, name)
		}
		for i, half := 0, len(want)/2; i < 2; i++ {
			assert.Greater(t, cosine(want[i*half:][:half], got[i*half:][:half]), least, "%s, packing %d", name, how)
		}
		require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
			state := map[string]*torch.Tensor{}
			packed := 0
			for key, p := range nn.State(m.Visual) {
				state[key] = p
			}
			for key, w := range state {
				if stem, ok := strings.CutSuffix(key, "weight"); ok && w.Packed(torch.Ones(s, torch.CPU, torch.Float32, 1), state[stem+"bias"]) {
					packed++
				}
			}
			assert.Positive(t, packed, "%s runs packed", name)
		}))
	}
}
