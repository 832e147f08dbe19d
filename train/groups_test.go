package train

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch/optim"
)

func TestTokenLR(t *testing.T) {
	for _, c := range []struct {
		given, lr float64
		steps     int
		want      float64
	}{
		{TokenLRSame, 1e-5, 32, 1e-5},
		{3e-4, 1e-5, 32, 3e-4},
		{TokenLRAuto, 1e-5, 32, 1.25e-3},
		{TokenLRAuto, 1e-5, 400, 1e-4},
		{TokenLRAuto, 1e-5, 2, 2e-3},
		{TokenLRAuto, 1e-5, 4000, 1e-5},
		{TokenLRAuto, 1e-5, 1000000, 1e-5},
		{TokenLRAuto, 1e-3, 400, 1e-3},
	} {
		o := Config{LR: c.lr, TokenLR: c.given}
		assert.InDelta(t, c.want, o.tokenLR(c.steps), 1e-12, "%+v", c)
	}
	for _, bad := range []float64{-3, -1e-5} {
		o := Config{TokenLR: bad}
		assert.ErrorContains(t, o.Check(), "TokenLR ", bad)
	}
}

// TestScaleTokens parts the token embeddings of CLIP's tower and of a RoBERTa, on top of a decay by
// layer.
func TestScaleTokens(t *testing.T) {
	for key, text := range map[string]string{
		"token_embedding.weight": `{"context_length":16,"vocab_size":64,"width":16,"heads":2,"layers":2}`,
		"text.transformer.embeddings.word_embeddings.weight": `{"context_length":16,"hf_model_name":"roberta-base","hf_tokenizer_name":"roberta-base","hf_pooler_type":"mean_pooler","hf_proj_type":"mlp",
			"hf_model_config":{"vocab_size":64,"hidden_size":32,"num_hidden_layers":2,"num_attention_heads":2,"intermediate_size":48,"max_position_embeddings":20}}`,
		"text.transformer.embed_tokens.weight": `{"context_length":16,"hf_model_name":"x/mt5","hf_tokenizer_name":"x/mt5","hf_pooler_type":"mean_pooler","hf_proj_type":"linear",
			"hf_model_config":{"model_type":"mt5","vocab_size":64,"d_model":32,"d_kv":16,"d_ff":48,"num_heads":2,"num_layers":2}}`,
	} {
		c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":2,"width":32,"head_width":32,"patch_size":8},"text_cfg":` + text + `}`))
		require.NoError(t, err)
		m, err := clip.New(c, 0)
		require.NoError(t, err)
		for _, decay := range []float64{1, 0.5} {
			groups := decayByLayer(m, parameterGroups(m, 0.1), 1, decay)
			were := scales(groups)
			assert.Equal(t, groups, scaleTokens(groups, 1))
			are := scales(scaleTokens(groups, 100))
			require.Contains(t, are, key)
			assert.Len(t, are, len(were))
			for name, was := range were {
				want := was
				if name == key {
					want.LRScale *= 100
				}
				assert.Equal(t, want, are[name], name)
			}
		}
	}
}

// scales are the groups' numbers by the name of the parameter.
func scales(groups []optim.Group) map[string]optim.Group {
	out := map[string]optim.Group{}
	for _, g := range groups {
		for _, p := range g.Params {
			if g.LRScale == 0 {
				g.LRScale = 1
			}
			out[p.Name] = optim.Group{WeightDecay: g.WeightDecay, LRScale: g.LRScale}
		}
	}
	return out
}

// TestDecayByLayer gives each parameter of a tiny model the power of the decay that its depth
// wants, in groups of one weight decay, the largest rate first.
func TestDecayByLayer(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":2,"width":32,"head_width":32,"patch_size":8},
		"text_cfg":{"context_length":16,"vocab_size":64,"width":16,"heads":2,"layers":2}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 0)
	require.NoError(t, err)
	groups := decayByLayer(m, parameterGroups(m, 0.2), 0.5, 1)
	scales, count, last := map[string]float64{}, 0, 1.0
	for _, g := range groups {
		assert.LessOrEqual(t, g.LRScale, last)
		last = g.LRScale
		for _, p := range g.Params {
			scales[p.Name] = g.LRScale
			count++
			if p.T.Dim() < 2 {
				assert.Zero(t, g.WeightDecay, p.Name)
			} else {
				assert.Equal(t, 0.2, g.WeightDecay, p.Name)
			}
		}
	}
	all := 0
	for range m.Parameters() {
		all++
	}
	assert.Equal(t, all, count)
	for key, want := range map[string]float64{"visual.proj": 1, "visual.ln_post.bias": 0.5, "visual.transformer.resblocks.1.mlp.c_fc.weight": 0.5,
		"visual.transformer.resblocks.0.mlp.c_fc.weight": 0.25, "visual.conv1.weight": 0.125, "token_embedding.weight": 1, "logit_scale": 1} {
		assert.Equal(t, want, scales[key], key)
	}
	assert.Len(t, decayByLayer(m, parameterGroups(m, 0.2), 1, 0), 2)
}
