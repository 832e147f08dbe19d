package tower

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/goclip/goclip/internal/timm"
)

// HuggingFace returns the config.json of the same model with weights of the type dtype, or an error that names
// what transformers does not have.
func (c *Config) HuggingFace(dtype string) ([]byte, error) {
	v, t := c.Vision, c.Text
	p := &problems{}
	has := func(ok bool, what string) {
		if !ok {
			p.errs = append(p.errs, fmt.Errorf("clip: transformers has no CLIP with %s", what))
		}
	}
	siglip := v.TimmPool == "map"
	has(c.Multimodal == nil, "a decoder")
	has(!v.IsResNet(), "a ResNet as its image tower")
	has(v.TimmModelName == "" || siglip && v.TimmProj == "none", "the image tower "+v.TimmModelName+" and a projection")
	has(t.HFModelName == "", "the text tower "+t.HFModelName)
	has(!v.NoLnPre && !v.AttentionalPool && slices.Contains([]string{"", "tok"}, v.PoolType) && v.LSInitValue == nil, "no_ln_pre, attentional_pool, ls_init_value or another pool_type in its image tower")
	has(!t.EmbedCls && t.LSInitValue == nil && t.ProjType != "none", "embed_cls, ls_init_value or proj_type none in its text tower")
	has(v.ImageSize.Height == v.ImageSize.Width || v.IsNaFlex(), fmt.Sprintf("images of %v pixels", v.ImageSize))
	ofSiglip := t.NoCausalMask && t.ProjBias && t.PoolType == "last" && c.InitLogitBias != nil
	ofCLIP := !t.NoCausalMask && !t.ProjBias && slices.Contains([]string{"", "argmax", "eos"}, t.PoolType) && c.InitLogitBias == nil
	has(siglip && ofSiglip || !siglip && ofCLIP, "these variations of the text tower or a logit bias beside this image tower")
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	activation := func(o *ActOptions, tanh bool) string {
		switch {
		case c.QuickGELU && !siglip:
			return "quick_gelu"
		case o != nil && o.Approximate == "tanh", o == nil && tanh:
			return "gelu_pytorch_tanh"
		}
		return "gelu"
	}
	eps := func(o *NormOptions) float64 {
		if o == nil {
			return 1e-5
		}
		return o.Eps
	}
	number := func(n int) json.RawMessage { return json.RawMessage(fmt.Sprint(n)) }
	h := &hfConfig{ModelType: "clip", Architectures: []string{"CLIPModel"}, ProjectionDim: c.EmbedDim, LogitScale: *c.InitLogitScale, DType: dtype}
	text := hfText{ModelType: "clip_text_model", VocabSize: t.VocabSize, HiddenSize: t.Width, IntermediateSize: int(float64(t.Width) * t.MLPRatio), ProjectionDim: c.EmbedDim,
		Layers: t.Layers, Heads: t.Heads, Positions: t.ContextLength, Activation: activation(t.ActOptions, false), Eps: eps(t.NormOptions)}
	vision := hfVision{ModelType: "clip_vision_model", HiddenSize: v.Width, IntermediateSize: int(float64(v.Width) * v.MLPRatio), ProjectionDim: c.EmbedDim,
		Layers: v.Depth(), Heads: v.Width / v.HeadWidth, Channels: 3, ImageSize: v.ImageSize, PatchSize: Square(v.PatchSize),
		Activation: activation(v.ActOptions, timm.ViTs[v.TimmModelName].Tanh), Eps: eps(v.NormOptions)}
	switch {
	case siglip && v.IsNaFlex():
		side := timm.ViTs[v.TimmModelName].Image / v.PatchSize
		vision.ImageSize, vision.Patches = Size{}, side*side
		fallthrough
	case siglip:
		h.ModelType, h.Architectures, h.ProjectionDim, h.LogitScale = "siglip", []string{"SiglipModel"}, 0, 0
		text.ModelType, vision.ModelType, vision.Eps = "siglip_text_model", "siglip_vision_model", 1e-6
		text.ProjectionSize, text.ProjectionDim, vision.ProjectionDim = c.EmbedDim, 0, 0
		text.End, text.Pad = number(1), number(1)
		if v.IsNaFlex() {
			h.ModelType, h.Architectures = "siglip2", []string{"Siglip2Model"}
			text.ModelType, vision.ModelType, text.Pad = "siglip2_text_model", "siglip2_vision_model", number(0)
		}
	case t.PoolType == "eos":
		end := 2
		if t.EOSID != nil {
			end = *t.EOSID
		}
		if text.End = number(end); end == 2 { // which a CLIPModel takes for the largest id
			h.ModelType, h.Architectures = "metaclip_2", []string{"MetaClip2Model"}
			text.ModelType, vision.ModelType = "metaclip_2_text_model", "metaclip_2_vision_model"
		}
	default:
		text.Begin, text.End, text.Pad = number(t.VocabSize-2), number(t.VocabSize-1), number(cmp.Or(t.PadID, 1))
	}
	var err error
	h.Text, err = json.Marshal(text)
	if err == nil {
		h.Vision, err = json.Marshal(vision)
	}
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	return json.MarshalIndent(h, "", "  ")
}
