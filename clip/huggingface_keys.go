package clip

import (
	"slices"
	"strings"

	"github.com/goclip/goclip/torch/checkpoint"
)

// isHuggingFace tells the keys of transformers' models from OpenAI's.
func isHuggingFace(all map[string]checkpoint.Entry) bool {
	for name := range all {
		if strings.HasPrefix(name, "vision_model.") || strings.HasPrefix(name, "text_model.") {
			return true
		}
	}
	return false
}

// The keys of transformers (convert_clip_original_pytorch_to_hf.py, convert_siglip_to_hf.py) behind open_clip's,
// longest prefix first. "pre_layrnorm" is theirs.
var (
	huggingFacePrefixes = [][2]string{
		{"visual.conv1.", "vision_model.embeddings.patch_embedding."},
		{"visual.ln_pre.", "vision_model.pre_layrnorm."},
		{"visual.ln_post.", "vision_model.post_layernorm."},
		{"visual.transformer.resblocks.", "vision_model.encoder.layers."},
		{"visual.trunk.patch_embed.proj.", "vision_model.embeddings.patch_embedding."},
		{"visual.trunk.embeds.proj.", "vision_model.embeddings.patch_embedding."}, // of a Siglip2Model
		{"visual.trunk.blocks.", "vision_model.encoder.layers."},
		{"visual.trunk.norm.", "vision_model.post_layernorm."},
		{"visual.trunk.attn_pool.latent", "vision_model.head.probe"},
		{"visual.trunk.attn_pool.proj.", "vision_model.head.attention.out_proj."},
		{"visual.trunk.attn_pool.norm.", "vision_model.head.layernorm."},
		{"visual.trunk.attn_pool.mlp.", "vision_model.head.mlp."},
		{"transformer.resblocks.", "text_model.encoder.layers."},
		{"transformer.embeddings.", "text_model.embeddings."}, // of a ChineseCLIPModel or an AltCLIPModel, as the next four
		{"transformer.encoder.", "text_model.encoder."},
		{"pre_LN.", "text_model.pre_LN."},
		{"transformation.", "text_model.transformation."},
		{"proj.", "text_projection."},
		{"token_embedding.", "text_model.embeddings.token_embedding."},
		{"ln_final.", "text_model.final_layer_norm."},
		{"text_projection.", "text_model.head."}, // SigLIP's, with a bias
		{"logit_scale", "logit_scale"},
		{"logit_bias", "logit_bias"},
	}
	huggingFaceWhole = map[string]source{
		"visual.class_embedding":        whole("vision_model.embeddings.class_embedding"),
		"visual.positional_embedding":   whole("vision_model.embeddings.position_embedding.weight"),
		"visual.trunk.pos_embed":        whole("vision_model.embeddings.position_embedding.weight"),
		"visual.trunk.embeds.pos_embed": {rows: whole("vision_model.embeddings.position_embedding.weight").rows, reshaped: true},
		"visual.proj":                   transposed("visual_projection.weight"),
		"positional_embedding":          whole("text_model.embeddings.position_embedding.weight"),
		"text_projection":               transposed("text_projection.weight"),
	}
	// huggingFaceParts are the names inside a block.
	huggingFaceParts = strings.NewReplacer(".ln_1.", ".layer_norm1.", ".ln_2.", ".layer_norm2.", ".norm1.", ".layer_norm1.", ".norm2.", ".layer_norm2.",
		".attn.out_proj.", ".self_attn.out_proj.", ".attn.proj.", ".self_attn.out_proj.", ".mlp.c_fc.", ".mlp.fc1.", ".mlp.c_proj.", ".mlp.fc2.")
)

// huggingFaceKeys is the layout of transformers' CLIPModel and SiglipModel: queries, keys and values lie apart in a
// block and together in SigLIP's pooling head, and CLIP's projections are transposed.
func huggingFaceKeys(key string) source {
	key = strings.TrimPrefix(key, "text.")
	if s, ok := huggingFaceWhole[key]; ok {
		return s
	}
	for _, kind := range []string{"weight", "bias"} {
		packed := "vision_model.head.attention.in_proj_" + kind
		switch key {
		case "visual.trunk.attn_pool.q." + kind:
			return source{rows: []rows{{packed, 0, 3}}}
		case "visual.trunk.attn_pool.kv." + kind:
			return source{rows: []rows{{packed, 1, 3}, {packed, 2, 3}}}
		}
	}
	i := slices.IndexFunc(huggingFacePrefixes, func(p [2]string) bool { return strings.HasPrefix(key, p[0]) })
	if i < 0 {
		return source{}
	}
	name := huggingFacePrefixes[i][1] + strings.TrimPrefix(key, huggingFacePrefixes[i][0])
	for _, packed := range [][2]string{{".attn.in_proj_", "weight"}, {".attn.in_proj_", "bias"}, {".attn.qkv.", "weight"}, {".attn.qkv.", "bias"}} {
		if block, ok := strings.CutSuffix(name, packed[0]+packed[1]); ok {
			var s source
			for _, p := range []string{"q", "k", "v"} {
				s.rows = append(s.rows, rows{block + ".self_attn." + p + "_proj." + packed[1], 0, 1})
			}
			return s
		}
	}
	return whole(huggingFaceParts.Replace(name))
}
