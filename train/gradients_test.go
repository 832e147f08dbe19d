package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/torch/optim"
	"github.com/goclip/goclip/train/data"
)

const (
	smallViT     = `{"image_size":32,"layers":2,"width":64,"head_width":32,"patch_size":8,"patch_dropout":0.25}`
	smallText    = `{"context_length":16,"vocab_size":400,"width":32,"heads":2,"layers":2}`
	smallRoberta = `{"context_length":16,"hf_model_name":"roberta-base","hf_tokenizer_name":"roberta-base","hf_pooler_type":"mean_pooler","hf_proj_type":"mlp","hf_model_config":
		{"vocab_size":400,"hidden_size":32,"num_hidden_layers":2,"num_attention_heads":2,"intermediate_size":48,"max_position_embeddings":20}}`
)

// smallRun is a stepper with a model and nothing around it.
func smallRun(t *testing.T, config string) *stepper {
	t.Helper()
	c, err := tower.ParseConfig([]byte(config))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	m.SetTraining(true)
	return single(t, m)
}

// single is a stepper of one process.
func single(t *testing.T, m *clip.Model) *stepper {
	t.Helper()
	group, err := distributed.Init(t.Context(), distributed.World{Size: 1, LocalSize: 1}, distributed.Options{})
	require.NoError(t, err)
	r := &stepper{model: m, device: torch.CPU, precision: choosePrecision("fp32", torch.CPU), group: group}
	r.reducer, err = distributed.NewReducer(group, nil, 1)
	require.NoError(t, err)
	return r
}

// randomBatch is n images of noise and captions of several lengths.
func randomBatch(r *stepper, n int) *data.Batch {
	rng := rand.New(rand.NewPCG(3, 4))
	length := r.model.ContextLength()
	b := &data.Batch{N: n, Pixels: make([]float32, n*3*32*32), Tokens: make([]int64, n*length)}
	for i := range b.Pixels {
		b.Pixels[i] = float32(rng.NormFloat64())
	}
	for i := range n {
		words := 3 + rng.IntN(length-4)
		for j := range words {
			b.Tokens[i*length+j] = int64(2 + rng.IntN(390))
		}
		b.Tokens[i*length+words] = 399
	}
	return b
}

// part is the rows [from, to) of a batch.
func part(r *stepper, b *data.Batch, from, to int) *data.Batch {
	picture, length := len(b.Pixels)/b.N, r.model.ContextLength()
	return &data.Batch{N: to - from, Pixels: b.Pixels[from*picture : to*picture], Tokens: b.Tokens[from*length : to*length]}
}

// takeGradients copies out every parameter's gradient, and removes it.
func takeGradients(t *testing.T, m *clip.Model) map[string][]float32 {
	t.Helper()
	out := map[string][]float32{}
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.Parameters() {
			if g := s.Alias(p).Grad(); g != nil {
				out[key] = torch.ToSlice[float32](g.To(torch.CPU, torch.Float32))
			}
			p.SetGrad(nil)
		}
	}))
	return out
}

// sameGradients compares gradients by the norm of their difference.
func sameGradients(t *testing.T, want, got map[string][]float32, tolerance float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for key, w := range want {
		difference, norm := 0.0, 0.0
		for i, x := range w {
			difference += math.Pow(float64(x)-float64(got[key][i]), 2)
			norm += float64(x) * float64(x)
		}
		if strings.HasSuffix(key, "key.bias") || strings.HasSuffix(key, "k_proj.bias") {
			continue // zero but for rounding: a softmax does not see what is added to every key
		}
		assert.LessOrEqual(t, math.Sqrt(difference), tolerance*math.Sqrt(norm), key)
	}
}

// TestGradientCache holds the gradients of micro-batches of any size, noise included, against those
// of one graph through all of them and the dense loss.
func TestGradientCache(t *testing.T) {
	for name, config := range map[string]string{
		"clip":    `{"embed_dim":16,"vision_cfg":` + smallViT + `,"text_cfg":` + smallText + `}`,
		"siglip":  `{"embed_dim":16,"init_logit_bias":-10,"vision_cfg":` + smallViT + `,"text_cfg":` + smallText + `}`,
		"roberta": `{"embed_dim":16,"vision_cfg":` + smallViT + `,"text_cfg":` + smallRoberta + `}`,
		"mt5": `{"embed_dim":16,"vision_cfg":` + smallViT + `,"text_cfg":{"context_length":16,"hf_model_name":"google/mt5-base","hf_tokenizer_name":"google/mt5-base","hf_pooler_type":"mean_pooler","hf_proj_type":"mlp",
			"hf_model_config":{"model_type":"mt5","vocab_size":400,"d_model":32,"num_layers":2,"num_heads":2,"d_kv":16,"d_ff":48}}}`,
		"m2m100": `{"embed_dim":16,"vision_cfg":` + smallViT + `,"text_cfg":{"context_length":16,"hf_model_name":"facebook/nllb-200-distilled-600M","hf_tokenizer_name":"facebook/nllb-200-distilled-600M","hf_pooler_type":"mean_pooler","hf_proj_type":"mlp",
			"hf_model_config":{"model_type":"m2m_100","vocab_size":400,"d_model":32,"encoder_layers":2,"encoder_attention_heads":2,"encoder_ffn_dim":48,"max_position_embeddings":64}}}`,
		"nonscalar":    `{"embed_dim":16,"nonscalar_logit_scale":true,"vision_cfg":` + smallViT + `,"text_cfg":` + smallText + `}`,
		"locked image": `{"embed_dim":16,"vision_cfg":` + smallViT + `,"text_cfg":` + smallText + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := smallRun(t, config)
			if name == "locked image" {
				require.NoError(t, r.model.LockImage(0, false))
			}
			const n = 12
			b := randomBatch(r, n)
			again := false
			for _, size := range []int{1, 2, 3, 5, n} {
				var micros []*micro
				for from := 0; from < n; from += size {
					m, err := r.micro(part(r, b, from, min(from+size, n)))
					require.NoError(t, err)
					micros = append(micros, m)
				}
				torch.ManualSeed(7)
				wantLoss := 0.0
				require.NoError(t, torch.Do(func(s *torch.Scope) { // one graph through all
					var images, texts []*torch.Tensor
					for _, m := range micros {
						pixels, captions := r.onDevice(s, m)
						images, texts = append(images, r.encodeImage(pixels)), append(texts, r.encodeText(m)(captions))
					}
					scale, l := s.Alias(r.model.LogitScale).Exp(), (*torch.Tensor)(nil)
					if r.model.LogitBias != nil {
						l = loss.Sigmoid(torch.Cat(0, images...), torch.Cat(0, texts...), scale, s.Alias(r.model.LogitBias))
					} else {
						l = loss.Contrastive(torch.Cat(0, images...), torch.Cat(0, texts...), scale)
					}
					l.Backward()
					wantLoss = l.Item()
				}))
				want := takeGradients(t, r.model)
				require.Contains(t, want, "logit_scale")

				torch.ManualSeed(7)
				again = !again // with every other size
				require.NoError(t, r.model.SetGradCheckpointing(again))
				before := settled.Count(torch.LiveTensors)
				gotLoss := 0.0
				require.NoError(t, torch.Do(func(s *torch.Scope) {
					loss, _ := r.gradients(s, micros)
					gotLoss = loss.Item()
				}))
				assert.Equal(t, before, torch.LiveTensors(), "nothing stays but the gradients")
				assert.InEpsilon(t, wantLoss, gotLoss, 1e-6, fmt.Sprint("micro-batches of ", size))
				sameGradients(t, want, takeGradients(t, r.model), 1e-5)
				require.NoError(t, r.model.SetGradCheckpointing(false))
				for _, m := range micros {
					m.free()
				}
			}
		})
	}
}

// optimise gives the stepper AdamW's constants for its parameters.
func (r *stepper) optimise() {
	r.optimiser = optim.NewAdamW(parameterGroups(r.model, 0.1), optim.AdamWOptions{LR: 1e-3, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6})
}
