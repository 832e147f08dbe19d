package tower

import (
	"encoding/json"

	"github.com/goclip/goclip/internal/timm"
)

// MarshalJSON writes an EVA's timm_proj as null: left out, open_clip would take it for linear.
func (v VisionConfig) MarshalJSON() ([]byte, error) {
	type plain VisionConfig
	if !v.IsEva() {
		return json.Marshal(plain(v))
	}
	return json.Marshal(struct {
		plain
		TimmProj *string `json:"timm_proj"`
	}{plain: plain(v)})
}

// validateTimm checks the fields that open_clip's timm_model.py reads.
func (v VisionConfig) validateTimm(p *problems, c *Config) {
	p.check(!v.TimmModelPretrained, "vision_cfg.timm_model_pretrained: weights are given with the model, not fetched from timm")
	// act_kwargs is goclip's own here: Hugging Face's SigLIP computes the tanh approximation where
	// timm's is exact.
	p.check(v.NormOptions == nil && !v.AttentionalPool, "vision_cfg: norm_kwargs and attentional_pool are not timm's")
	if model, ok := timm.ViTs[v.TimmModelName]; ok {
		v.validateTimmViT(p, c, model)
		return
	}
	if model, ok := timm.Evas[v.TimmModelName]; ok {
		v.validateEva(p, model)
		return
	}
	p.check(v.IsConvNeXt(), "vision_cfg.timm_model_name %q names a tower that goclip does not have; of timm it has SigLIP's, vit_base_patch32_224, EVA, PE and ConvNeXt", v.TimmModelName)
	if v.IsConvNeXt() {
		v.validateConvNeXt(p)
	}
}

func (v VisionConfig) validateTimmViT(p *problems, c *Config, model timm.ViT) {
	p.check(v.ImageSize == Square(model.Image), "vision_cfg.image_size is %v, and %s takes %d", v.ImageSize, v.TimmModelName, model.Image)
	p.check(v.TimmPool == model.Pool, "vision_cfg.timm_pool is %q, and %s has %q", v.TimmPool, v.TimmModelName, model.Pool)
	p.check(v.TimmProj == "none" || v.TimmProj == "linear", "vision_cfg.timm_proj is %q; goclip has none, linear", v.TimmProj)
	p.check(v.TimmProj != "none" || model.Width == c.EmbedDim, "embed_dim is %d, and %s without a projection gives %d", c.EmbedDim, v.TimmModelName, model.Width)
	p.check(v.TimmDrop == 0 && v.TimmDropPath == 0, "vision_cfg.timm_drop and timm_drop_path: goclip has neither")
}

// validateEva: the projection is timm's own classifier.
func (v VisionConfig) validateEva(p *problems, model timm.Eva) {
	pool := "token"
	if model.Kind == timm.EvaPE {
		pool = "map"
	}
	p.check(v.ImageSize == Square(model.Image), "vision_cfg.image_size is %v, and %s takes %d", v.ImageSize, v.TimmModelName, model.Image)
	p.check(v.TimmPool == pool, "vision_cfg.timm_pool is %q, and %s has %q", v.TimmPool, v.TimmModelName, pool)
	p.check(v.TimmProj == "" && !v.TimmProjBias, "vision_cfg.timm_proj is %q; with %s goclip has null", v.TimmProj, v.TimmModelName)
	p.check(v.TimmDrop == 0 && v.TimmDropPath == 0 && v.PatchDropout == 0, "vision_cfg.timm_drop, timm_drop_path and patch_dropout: goclip has none of them with %s", v.TimmModelName)
	p.check(v.ActOptions == nil, "vision_cfg: act_kwargs are not an EVA's")
}

// validateConvNeXt: a ConvNeXt takes images of any size that leaves a pixel after its last stage.
func (v VisionConfig) validateConvNeXt(p *problems) {
	p.check(min(v.ImageSize.Height, v.ImageSize.Width) >= v.PatchSize, "vision_cfg.image_size is %v; both sides of a ConvNeXt's images must be at least %d", v.ImageSize, v.PatchSize)
	p.oneOf("vision_cfg.timm_pool", v.TimmPool, "avg")
	p.check(v.TimmProj == "linear" || v.TimmProj == "mlp", "vision_cfg.timm_proj is %q; with a ConvNeXt goclip has linear, mlp", v.TimmProj)
	p.check(v.TimmDrop == 0, "vision_cfg.timm_drop %g: goclip has no dropout before the projection", v.TimmDrop)
	p.check(v.TimmDropPath >= 0 && v.TimmDropPath < 1, "vision_cfg.timm_drop_path %g is outside [0, 1)", v.TimmDropPath)
	p.check(v.PatchDropout == 0 && v.ActOptions == nil, "vision_cfg: patch_dropout and act_kwargs are not a ConvNeXt's")
}
