package clip

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestConfigRoundTrip holds that a written config reads back the same, built-in or not.
func TestConfigRoundTrip(t *testing.T) {
	all := golden.Variants(t)
	for _, name := range tower.ConfigNames() {
		c, err := tower.LookupConfig(name)
		require.NoError(t, err, name)
		all[name] = c
	}
	for name, c := range all {
		text, err := json.Marshal(c)
		require.NoError(t, err, name)
		again, err := tower.ParseConfig(text)
		require.NoError(t, err, name)
		assert.Equal(t, c, again, name)
	}
}

// TestConfigWritesNull has an EVA's config say that there is no projection of open_clip's, and no
// other.
func TestConfigWritesNull(t *testing.T) {
	for name, want := range map[string]int{"eva": 1, "pe": 1, "siglip": 0, "clipa": 0} {
		text, err := json.Marshal(golden.Variants(t)[name])
		require.NoError(t, err)
		assert.Equal(t, want, strings.Count(string(text), `"timm_proj":null`), name)
	}
}

func TestConfigSpellings(t *testing.T) {
	for name, file := range map[string]string{"ViT-B/32": "ViT-B-32", "ViT-L/14@336px": "ViT-L-14-336", "RN50x4": "RN50x4"} {
		c, err := tower.LookupConfig(name)
		require.NoError(t, err, name)
		want, err := tower.LookupConfig(file)
		require.NoError(t, err, file)
		assert.Equal(t, want, c)
	}
	_, err := tower.LookupConfig("ViT-B-33")
	assert.ErrorContains(t, err, `no built-in config is called "ViT-B-33"`)
}

func TestConfigStrings(t *testing.T) {
	for name, want := range map[string][2]string{
		"ViT-B-32":              {"12 layers of width 768, 32-pixel patches of 224 pixels", "12 layers of width 512, 77 tokens of 49408"},
		"RN50x4":                {"ResNet with 4, 6, 10 and 6 blocks of width 80, 288 pixels", "12 layers of width 640, 77 tokens of 49408"},
		"ViT-B-16-SigLIP":       {"12 layers of width 768, 16-pixel patches of 224 pixels", "12 layers of width 768, 64 tokens of 32000"},
		"convnext_base_w":       {"ConvNeXt with 3, 3, 27 and 3 blocks of width 128, 256 pixels", "12 layers of width 640, 77 tokens of 49408"},
		"vit_b_32-roberta-base": {"12 layers of width 768, 32-pixel patches of 224 pixels", "12 layers of width 768, 77 tokens of 50265"},
	} {
		c, err := tower.LookupConfig(name)
		require.NoError(t, err, name)
		assert.Equal(t, want, [2]string{c.Vision.String(), c.Text.String()}, name)
	}
	assert.Equal(t, "24x32", golden.Variants(t)["clipa"].Vision.ImageSize.String())
}

// TestBadConfigs changes one field of a good config.
func TestBadConfigs(t *testing.T) {
	const vit, resnet, siglip, convnext, eva, roberta = "clipa", "resnet", "siglip", "convnext", "eva", "roberta-mean"
	texts := golden.VariantTexts(t)
	for _, bad := range []struct{ base, old, new, want string }{
		{vit, `"embed_dim": 24`, `"embed_dim": 0`, "embed_dim is 0"},
		{vit, `"embed_dim": 24`, `"embed_dim": 24, "multimodal_cfg": {}`, "multimodal_cfg takes a ViT and output_tokens of both towers"},
		{vit, `"embed_dim": 24`, `"embed_dim": 24, "quick_gelu": true`, "act_kwargs are GELU's"},
		{vit, `[24, 32]`, `[24, 32, 3]`, "a number or [height, width]"},
		{vit, `[24, 32]`, `"big"`, "a number or [height, width]"},
		{vit, `[24, 32]`, `[24, -1]`, "image_size is -1"},
		{vit, `[24, 32]`, `[4, 32]`, "larger than image_size 4x32"},
		{vit, `"layers": 2, "width": 32, "head`, `"layers": [1, 2], "width": 32, "head`, "the four of a ResNet's stages"},
		{vit, `"head_width": 16`, `"head_width": 15`, "not a multiple of head_width 15"},
		{vit, `"avg"`, `"none"`, `pool_type is "none"; goclip has tok, avg`},
		{vit, `"no_ln_pre": true`, `"pos_embed_type": "sin_cos_2d"`, "takes square images"},
		{vit, `"no_ln_pre": true`, `"pos_embed_type": "rope"`, `"rope"; goclip has learnable, sin_cos_2d`},
		{vit, `"no_ln_pre": true`, `"qk_norm": true`, `the field "qk_norm"`},
		{vit, `"no_ln_pre": true`, `"attentional_pool": true, "attn_pooler_heads": 5`, "embed_dim 24 is not a multiple of vision_cfg.attn_pooler_heads 5"},
		{vit, `"no_ln_pre": true`, `"output_tokens": true`, "serves a captioner"},
		{vit, `"eps": 1e-6`, `"eps": 0`, "no positive eps"},
		{vit, `"tanh"`, `"sigmoid"`, `"sigmoid"; goclip has none, tanh`},
		{vit, `"last"`, `"none"`, `pool_type is "none"; goclip has argmax, eos, first, last`},
		{vit, `"last"`, `"last", "embed_cls": true`, "embed_cls takes custom_text"},
		{vit, `"last"`, `"last", "proj_type": "none"`, "has no projection"},
		{resnet, `"image_size": 64`, `"image_size": [64, 32]`, "a ResNet's images are square"},
		{resnet, `"image_size": 64`, `"image_size": 48`, "a multiple of 32"},
		{resnet, `"width": 8`, `"width": 7`, "of a ResNet is odd"},
		{resnet, `[1, 2, 1, 1]`, `[1, 0, 1, 1]`, "layers is 0"},
		{siglip, `"vit_tiny_siglip"`, `"swin_base"`, `"swin_base" names a tower that goclip does not have`},
		{siglip, `"image_size": 24`, `"image_size": 32`, "vit_tiny_siglip takes 24"},
		{siglip, `"map"`, `"avg"`, `vit_tiny_siglip has "map"`},
		{siglip, `"timm_proj": "none"`, `"timm_proj": "mlp"`, "goclip has none, linear"},
		{siglip, `"embed_dim": 32`, `"embed_dim": 24`, "without a projection gives 32"},
		{siglip, `"timm_model_pretrained": false`, `"timm_model_pretrained": true`, "not fetched from timm"},
		{siglip, `"timm_proj": "none"`, `"timm_proj": "none", "timm_drop_path": 1`, "timm_drop_path 1 is outside [0, 1)"},
		{convnext, `[40, 72]`, `[31, 72]`, "image_size is 31x72; both sides of a ConvNeXt's images must be at least 32"},
		{convnext, `"timm_pool": ""`, `"timm_pool": "max"`, `timm_pool is "max"; goclip has avg`},
		{convnext, `"linear"`, `"none"`, `timm_proj is "none"; with a ConvNeXt goclip has linear, mlp`},
		{convnext, `"timm_drop": 0.0`, `"timm_drop": 0.1`, "timm_drop 0.1: goclip has no dropout before the projection"},
		{convnext, `"timm_drop_path": 0.5`, `"timm_drop_path": 1`, "timm_drop_path 1 is outside [0, 1)"},
		{convnext, `"timm_drop": 0.0`, `"patch_dropout": 0.5`, "patch_dropout and act_kwargs are not a ConvNeXt's"},
		{convnext, `"timm_model_pretrained": false`, `"timm_model_pretrained": true`, "not fetched from timm"},
		{eva, `"image_size": 24`, `"image_size": 32`, "eva_mini takes 24"},
		{eva, `"token"`, `"map"`, `timm_pool is "map", and eva_mini has "token"`},
		{eva, `null`, `"linear"`, `timm_proj is "linear"; with eva_mini goclip has null`},
		{eva, `null`, `null, "timm_drop_path": 0.1`, "goclip has none of them with eva_mini"},
		{eva, `null`, `null, "act_kwargs": {"approximate": "tanh"}`, "act_kwargs are not an EVA's"},
		{"pe", `"map"`, `"token"`, `timm_pool is "token", and pe_mini has "map"`},
		{"fastvit", `null`, `"linear"`, `timm_proj is "linear"; with fastvit_mini goclip has null`},
		{"fastvit", `"avg"`, `"token"`, `timm_pool is "token"; goclip has avg`},
		{"mobileclip-b", `null`, `null, "patch_dropout": 0.5`, "goclip has none of it with vit_mini_mci"},
		{"vitamin", `"image_size": 32`, `"image_size": 48`, "image_size is 48, and vitamin_mini takes 32"},
		{"vitamin-xl", `"image_size": 48`, `"image_size": 40`, "vitamin_mini_xl takes multiples of 16"},
		{"swin", `"image_size": 64`, `"image_size": 32`, "image_size is 32, and swin_mini takes 64"},
		{"nllb", `"m2m_100"`, `"gpt2"`, `model_type is "gpt2"; goclip has roberta`},
		{"nllb", `"encoder_layers"`, `"decoder_layers"`, `the field "decoder_layers"`},
		{"nllb", `"pad_token_id": 1`, `"pad_token_id": 1, "activation_function": "gelu"`, `hidden_act is "gelu"; M2M100 has relu`},
		{"bert", `"max_position_embeddings": 12`, `"max_position_embeddings": 11`, "longer than the 11 positions"},
		{roberta, `"mean_pooler"`, `"some_pooler"`, "goclip has mean_pooler"},
		{roberta, `"mean_pooler"`, `"mean_pooler", "hf_proj_type": "none"`, "has no projection"},
		{roberta, `"vocab_size": 64`, `"vocab_size": 64, "rotary": true`, `the field "rotary"`},
		{roberta, `"vocab_size": 64`, `"vocab_size": 64, "hidden_act": "relu"`, "a RoBERTa has gelu"},
		{roberta, `"vocab_size": 64`, `"vocab_size": 64, "pad_token_id": 64`, "pad_token_id 64 is not a token"},
		{roberta, `"num_attention_heads": 2`, `"num_attention_heads": 3`, "not a multiple of num_attention_heads 3"},
		{roberta, `"max_position_embeddings": 20`, `"max_position_embeddings": 13`, "longer than the 13 positions"},
		{roberta, `"hf_model_config"`, `"hf_model_pretrained": false, "hf_modle_config"`, `the field "hf_modle_config"`},
	} {
		text := string(texts[bad.base])
		require.Contains(t, text, bad.old)
		_, err := tower.ParseConfig([]byte(strings.Replace(text, bad.old, bad.new, 1)))
		assert.ErrorContains(t, err, bad.want, bad.new)
	}
	_, err := tower.ParseConfig([]byte(`{"embed_dim": 512, "vision_cfg": {}, "text_cfg": {"hf_model_name": "bert-base"}}`))
	assert.ErrorContains(t, err, `"bert-base": must be one of bert-base-chinese, bert-base-uncased`)
}

// TestBiomedCLIP reads the config of a model that open_clip has no name for.
func TestBiomedCLIP(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim": 512,
		"vision_cfg": {"timm_model_name": "vit_base_patch16_224", "timm_model_pretrained": false, "timm_pool": "", "timm_proj": "linear", "image_size": 224},
		"text_cfg": {"hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
			"hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 256}}`))
	require.NoError(t, err)
	m := allocate(c)
	assert.IsType(t, &tower.TimmViT{}, m.Visual)
	assert.IsType(t, &tower.Roberta{}, m.Text)
	assert.Equal(t, 30522, c.Text.VocabSize)
}
