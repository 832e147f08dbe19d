package tower

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/goclip/goclip/internal/timm"
)

// timmFamily is a kind of towers of timm's: the names that it has, what a name says of the config,
// which configs goclip computes, and the tower.
type timmFamily struct {
	has      func(name string) bool
	fill     func(v *VisionConfig)
	validate func(v VisionConfig, p *problems, c *Config)
	tower    func(c *Config) Tower
}

// timmFamilies are all of them; a name is in one at most.
var timmFamilies = []timmFamily{
	{named(timm.ViTs), fillTimmViT, VisionConfig.validateTimmViT, func(c *Config) Tower { return newTimmViT(c) }},
	{named(timm.Evas), fillEva, VisionConfig.validateEva, func(c *Config) Tower { return newEva(c) }},
	{named(timm.ConvNeXts), fillConvNeXt, VisionConfig.validateConvNeXt, func(c *Config) Tower { return newConvNeXt(c) }},
	{named(timm.FastViTs), fillFastViT, VisionConfig.validateFastViT, func(c *Config) Tower { return newFastViT(c) }},
	{named(timm.Swins), fillSwin, VisionConfig.validateSwin, func(c *Config) Tower { return newSwin(c) }},
}

func named[M any](table map[string]M) func(name string) bool {
	return func(name string) bool {
		_, ok := table[name]
		return ok
	}
}

// timmFamily is the one that the config names.
func (v VisionConfig) timmFamily() (timmFamily, bool) {
	i := slices.IndexFunc(timmFamilies, func(f timmFamily) bool { return f.has(v.TimmModelName) })
	if i < 0 {
		return timmFamily{}, false
	}
	return timmFamilies[i], true
}

// IsEva reports whether the tower is one of timm's EVAs, a Perception Encoder among them.
func (v VisionConfig) IsEva() bool { return named(timm.Evas)(v.TimmModelName) }

// IsConvNeXt reports whether the tower is a ConvNeXt.
func (v VisionConfig) IsConvNeXt() bool { return named(timm.ConvNeXts)(v.TimmModelName) }

// IsFastViT reports whether the tower is a FastViT, MobileCLIP's.
func (v VisionConfig) IsFastViT() bool { return named(timm.FastViTs)(v.TimmModelName) }

// IsSwin reports whether the tower is a Swin transformer.
func (v VisionConfig) IsSwin() bool { return named(timm.Swins)(v.TimmModelName) }

// IsNaFlex reports whether the tower takes images of any shape. ImageSize then has as many patches as it takes of one.
func (v VisionConfig) IsNaFlex() bool { return timm.ViTs[v.TimmModelName].NaFlex }

// PixelSize is the height and width of the pixels that the tower takes: ImageSize, and one row of patches more that tells an
// image's shape where it may have any (preprocess.Patches).
func (v VisionConfig) PixelSize() Size {
	if v.IsNaFlex() {
		return Size{v.ImageSize.Height + v.PatchSize, v.ImageSize.Width}
	}
	return v.ImageSize
}

// HasBatchNorm reports whether training normalises by the statistics of a batch, which cannot be
// split then.
func (v VisionConfig) HasBatchNorm() bool {
	return v.IsResNet() || v.IsFastViT() || timm.ViTs[v.TimmModelName].Convolutions != nil
}

// MarshalJSON writes a timm_proj of null: left out, open_clip would take it for linear.
func (v VisionConfig) MarshalJSON() ([]byte, error) {
	type plain VisionConfig
	if v.TimmModelName == "" || v.TimmProj != "" {
		return json.Marshal(plain(v))
	}
	return json.Marshal(struct {
		plain
		TimmProj *string `json:"timm_proj"`
	}{plain: plain(v)})
}

// stages describes a tower of several stages in a line.
func (v VisionConfig) stages(kind string) string {
	return fmt.Sprintf("%s with %s blocks of width %d, %v pixels", kind, listed(v.Layers), v.Width, v.ImageSize)
}

// listed reads "3, 4, 6 and 3".
func listed(numbers []int) (text string) {
	for i, n := range numbers {
		switch {
		case i == 0:
			text = fmt.Sprint(n)
		case i == len(numbers)-1:
			text += fmt.Sprintf(" and %d", n)
		default:
			text += fmt.Sprintf(", %d", n)
		}
	}
	return text
}

// dropPath is the rate of stochastic depth at the last block; timm's own, where the config is
// silent.
func (v VisionConfig) dropPath(silent float64) float64 {
	if v.TimmDropPath == nil {
		return silent
	}
	return *v.TimmDropPath
}

// validateTimm checks the fields that open_clip's timm_model.py reads.
func (v VisionConfig) validateTimm(p *problems, c *Config) {
	p.check(!v.TimmModelPretrained, "vision_cfg.timm_model_pretrained: weights are given with the model, not fetched from timm")
	// act_kwargs is goclip's own here: Hugging Face's SigLIP computes the tanh approximation where
	// timm's is exact.
	p.check(v.NormOptions == nil && !v.AttentionalPool, "vision_cfg: norm_kwargs and attentional_pool are not timm's")
	p.check(v.TimmDrop == 0, "vision_cfg.timm_drop %g: goclip has no dropout before the projection", v.TimmDrop)
	if f, ok := v.timmFamily(); ok {
		f.validate(v, p, c)
		return
	}
	p.check(false, "vision_cfg.timm_model_name %q names a tower that goclip does not have; of timm it has those of open_clip's configs", v.TimmModelName)
}

func fillTimmViT(v *VisionConfig) {
	t := timm.ViTs[v.TimmModelName]
	v.Layers, v.Width, v.HeadWidth, v.MLPRatio, v.PatchSize = Layers{t.Depth}, t.Width, t.Width/t.Heads, t.MLPRatio, t.Patch
}

func (v VisionConfig) validateTimmViT(p *problems, c *Config) {
	m := timm.ViTs[v.TimmModelName]
	if m.NoPositions || m.NaFlex {
		p.check(v.ImageSize.Height%m.Patch == 0 && v.ImageSize.Width%m.Patch == 0, "vision_cfg.image_size is %v, and %s takes multiples of %d", v.ImageSize, v.TimmModelName, m.Patch)
	} else {
		p.check(v.ImageSize == Square(m.Image), "vision_cfg.image_size is %v, and %s takes %d", v.ImageSize, v.TimmModelName, m.Image)
	}
	p.check(v.TimmPool == m.Pool || v.TimmPool == "" && v.TimmProj == "linear", "vision_cfg.timm_pool is %q, and %s has %q", v.TimmPool, v.TimmModelName, m.Pool)
	p.oneOf("vision_cfg.timm_proj", v.TimmProj, "none", "linear")
	p.check(v.TimmProj != "none" || m.Width == c.EmbedDim, "embed_dim is %d, and %s without a projection gives %d", c.EmbedDim, v.TimmModelName, m.Width)
	p.check(v.PatchDropout == 0 || m.Convolutions == nil && m.MBConvs == nil && m.Relative == 0 && !m.NaFlex, "vision_cfg.patch_dropout: goclip has none of it with %s", v.TimmModelName)
	v.validateDropPath(p)
}

func (v VisionConfig) validateDropPath(p *problems) {
	rate := v.dropPath(0)
	p.check(rate >= 0 && rate < 1, "vision_cfg.timm_drop_path %g is outside [0, 1)", rate)
}

func fillEva(v *VisionConfig) {
	t := timm.Evas[v.TimmModelName]
	v.Layers, v.Width, v.HeadWidth, v.MLPRatio, v.PatchSize = Layers{t.Depth}, t.Width, t.Width/t.Heads, t.MLPRatio, t.Patch
}

// validateEva: the projection is timm's own classifier.
func (v VisionConfig) validateEva(p *problems, _ *Config) {
	m := timm.Evas[v.TimmModelName]
	pool := "token"
	if m.Kind == timm.EvaPE {
		pool = "map"
	}
	p.check(v.ImageSize == Square(m.Image), "vision_cfg.image_size is %v, and %s takes %d", v.ImageSize, v.TimmModelName, m.Image)
	p.check(v.TimmPool == pool, "vision_cfg.timm_pool is %q, and %s has %q", v.TimmPool, v.TimmModelName, pool)
	p.check(v.TimmProj == "" && !v.TimmProjBias, "vision_cfg.timm_proj is %q; with %s goclip has null", v.TimmProj, v.TimmModelName)
	p.check(v.dropPath(0) == 0 && v.PatchDropout == 0, "vision_cfg.timm_drop_path and patch_dropout: goclip has none of them with %s", v.TimmModelName)
	p.check(v.ActOptions == nil, "vision_cfg: act_kwargs are not an EVA's")
}

func fillConvNeXt(v *VisionConfig) {
	t := timm.ConvNeXts[v.TimmModelName]
	v.Layers, v.Width, v.PatchSize = Layers(t.Depths[:]), t.Widths[0], 32
}

// validateConvNeXt: a ConvNeXt takes images of any size that leaves a pixel after its last stage.
func (v VisionConfig) validateConvNeXt(p *problems, _ *Config) {
	p.check(min(v.ImageSize.Height, v.ImageSize.Width) >= v.PatchSize, "vision_cfg.image_size is %v; both sides of a ConvNeXt's images must be at least %d", v.ImageSize, v.PatchSize)
	p.oneOf("vision_cfg.timm_pool", v.TimmPool, "avg")
	p.check(v.TimmProj == "linear" || v.TimmProj == "mlp", "vision_cfg.timm_proj is %q; with a ConvNeXt goclip has linear, mlp", v.TimmProj)
	v.validateDropPath(p)
	p.check(v.PatchDropout == 0 && v.ActOptions == nil, "vision_cfg: patch_dropout and act_kwargs are not a ConvNeXt's")
}

func fillFastViT(v *VisionConfig) {
	t := timm.FastViTs[v.TimmModelName]
	v.Layers, v.Width, v.MLPRatio, v.PatchSize = Layers(t.Depths), t.Widths[0], t.MLPRatio, 4<<(len(t.Widths)-1)
}

// validateFastViT: the projection is timm's own classifier. Images may have any size.
func (v VisionConfig) validateFastViT(p *problems, _ *Config) {
	p.oneOf("vision_cfg.timm_pool", v.TimmPool, "avg")
	p.check(v.TimmProj == "" && !v.TimmProjBias, "vision_cfg.timm_proj is %q; with %s goclip has null", v.TimmProj, v.TimmModelName)
	p.check(v.dropPath(0) == 0 && v.PatchDropout == 0 && v.ActOptions == nil, "vision_cfg.timm_drop_path, patch_dropout and act_kwargs: goclip has none of them with %s", v.TimmModelName)
}

func fillSwin(v *VisionConfig) {
	t := timm.Swins[v.TimmModelName]
	v.Layers, v.Width, v.PatchSize = Layers(t.Depths[:]), t.Width, 8*t.Patch
}

func (v VisionConfig) validateSwin(p *problems, _ *Config) {
	m := timm.Swins[v.TimmModelName]
	p.check(v.ImageSize == Square(m.Image), "vision_cfg.image_size is %v, and %s takes %d", v.ImageSize, v.TimmModelName, m.Image)
	p.oneOf("vision_cfg.timm_pool", v.TimmPool, "avg")
	p.check(v.TimmProj == "linear", "vision_cfg.timm_proj is %q; with %s goclip has linear", v.TimmProj, v.TimmModelName)
	v.validateDropPath(p)
	p.check(v.PatchDropout == 0 && v.ActOptions == nil, "vision_cfg: patch_dropout and act_kwargs are not a Swin's")
}
