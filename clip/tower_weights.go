package clip

import (
	"fmt"
	"strings"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// loadTower reads the weights of one tower, "visual." or "text.", from a file that has that tower alone or a whole
// model. The projection to the common space stays as it is if the file has none: libraries of towers do not know it.
func (m *Model) loadTower(path, prefix string, o OpenOptions) error {
	f, err := checkpoint.Open(path)
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	defer f.Close()
	all := tensors(f)
	names := towerLayout(all, prefix)
	withPrefix := func(key string) string { // the flat layout's text tower has none
		if prefix == "text." && isTextKey(key) {
			return prefix + key
		}
		return key
	}
	state := func(yield func(string, *torch.Tensor) bool) {
		for key, p := range m.State() {
			if strings.HasPrefix(withPrefix(key), prefix) && !yield(key, p) {
				return
			}
		}
	}
	found, missing, unexpected := layout(func(key string) source { return names(withPrefix(key)) }).match(all, state)
	if len(found) == 0 {
		kind := map[string]string{"visual.": "image", "text.": "text"}[prefix]
		return fmt.Errorf("clip: %s holds no weights of this %s tower: not one of its %d names is known", path, kind, len(all))
	}
	var problems, kept []string
	for key := range state {
		if missing[key] != nil && isProjection(strings.TrimPrefix(withPrefix(key), prefix)) {
			kept = append(kept, key)
		} else {
			problems = append(problems, missing[key]...)
		}
	}
	for _, name := range unexpected {
		if !isTaskHead(name) && !ofOtherTower(name, prefix) {
			problems = append(problems, "unexpected "+name)
		}
	}
	if err := m.put(f, path, found, problems, o); err != nil {
		return err
	}
	if len(kept) > 0 {
		o.log("%s has no %s: random numbers stay there", path, strings.Join(kept, ", "))
	}
	return nil
}

// isProjection tells the weights that lead from a tower to the common space.
func isProjection(key string) bool {
	first, _, _ := strings.Cut(key, ".")
	return first == "proj" || first == "head" || first == "text_projection"
}

// isTaskHead tells what pretraining left above a tower: torchvision's classifier, RoBERTa's language model and pooler.
func isTaskHead(name string) bool {
	for _, head := range []string{"heads.", "head.", "fc.", "lm_head.", "classifier.", "pooler.", "roberta.pooler.", "cls."} {
		if strings.HasPrefix(name, head) {
			return true
		}
	}
	return false
}

// ofOtherTower tells, in a file of a whole model, what belongs to the tower that is not read.
func ofOtherTower(name, prefix string) bool {
	if name == "logit_scale" || name == "logit_bias" {
		return true
	}
	if prefix == "visual." {
		return strings.HasPrefix(name, "text") || isTextKey(name)
	}
	return strings.HasPrefix(name, "visual.") || strings.HasPrefix(name, "vision_model.") || strings.HasPrefix(name, "visual_projection.")
}

// towerLayout recognises whose names a file has. The keys that it is asked for have the tower's prefix.
func towerLayout(all map[string]checkpoint.Entry, prefix string) layout {
	has := func(names ...string) bool {
		for _, name := range names {
			if _, ok := all[name]; ok {
				return true
			}
		}
		return false
	}
	const words = "embeddings.word_embeddings.weight"
	switch {
	case isHuggingFace(all):
		return huggingFaceKeys
	case prefix == "visual." && has("conv_proj.weight"):
		return torchvisionKeys(has("encoder.layers.encoder_layer_0.mlp.linear_1.weight"))
	case prefix == "text." && has("roberta."+words, words):
		return robertaKeys(has("roberta." + words))
	}
	return func(key string) source { // open_clip's, of a whole model or of the tower alone
		short := strings.TrimPrefix(key, prefix)
		if has(key) || !has(short) {
			return whole(key)
		}
		return whole(short)
	}
}

// torchvisionKeys is the layout of torchvision's VisionTransformer (torchvision/models/vision_transformer.py): its
// vit_b_32 is timm's vit_base_patch32_224. Files from before torchvision 0.12 name its layers linear_1, linear_2.
func torchvisionKeys(old bool) layout {
	fc1, fc2 := ".mlp.0.", ".mlp.3."
	if old {
		fc1, fc2 = ".mlp.linear_1.", ".mlp.linear_2."
	}
	inBlock := strings.NewReplacer(".norm1.", ".ln_1.", ".norm2.", ".ln_2.", ".attn.qkv.", ".self_attention.in_proj_",
		".attn.proj.", ".self_attention.out_proj.", ".mlp.fc1.", fc1, ".mlp.fc2.", fc2)
	return func(key string) source {
		key, ok := strings.CutPrefix(key, "visual.trunk.")
		if !ok { // the projection
			return source{}
		}
		if block, ok := strings.CutPrefix(key, "blocks."); ok {
			return whole(inBlock.Replace("encoder.layers.encoder_layer_" + block))
		}
		for _, p := range [][2]string{{"cls_token", "class_token"}, {"pos_embed", "encoder.pos_embedding"}, {"patch_embed.proj.", "conv_proj."}, {"norm.", "encoder.ln."}} {
			if rest, ok := strings.CutPrefix(key, p[0]); ok {
				return whole(p[1] + rest)
			}
		}
		return source{}
	}
}

// robertaKeys is the layout of transformers' RobertaModel and XLMRobertaModel or, prefixed, of the models with a head.
func robertaKeys(prefixed bool) layout {
	prefix := ""
	if prefixed {
		prefix = "roberta."
	}
	return func(key string) source {
		if rest, ok := strings.CutPrefix(key, "text.transformer."); ok {
			return whole(prefix + rest)
		}
		return source{} // the projection
	}
}
