package tower

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/goclip/goclip/internal/timm"
)

// hfConfig is config.json of transformers' CLIPModel, MetaClip2Model, SiglipModel, Siglip2Model, ChineseCLIPModel or
// AltCLIPModel (configuration_clip.py and the like).
type hfConfig struct {
	Architectures  []string        `json:"architectures,omitempty"`
	ModelType      string          `json:"model_type"`
	Name           string          `json:"_name_or_path,omitempty"`
	ProjectionDim  int             `json:"projection_dim,omitempty"`
	LogitScale     float64         `json:"logit_scale_init_value,omitempty"`
	DType          string          `json:"dtype,omitempty"`
	Text           json.RawMessage `json:"text_config"`
	Vision         json.RawMessage `json:"vision_config"`
	TextReplaced   json.RawMessage `json:"text_config_dict,omitempty"` // before transformers 4.2x: it wins over Text
	VisionReplaced json.RawMessage `json:"vision_config_dict,omitempty"`
}

// hfText is text_config.
type hfText struct {
	ModelType        string          `json:"model_type,omitempty"`
	VocabSize        int             `json:"vocab_size"`
	HiddenSize       int             `json:"hidden_size"`
	IntermediateSize int             `json:"intermediate_size"`
	ProjectionDim    int             `json:"projection_dim,omitempty"`
	ProjectionSize   int             `json:"projection_size,omitempty"` // SigLIP's
	Layers           int             `json:"num_hidden_layers"`
	Heads            int             `json:"num_attention_heads"`
	Positions        int             `json:"max_position_embeddings"`
	Activation       string          `json:"hidden_act"`
	Eps              float64         `json:"layer_norm_eps"`
	Begin            json.RawMessage `json:"bos_token_id,omitempty"`
	End              json.RawMessage `json:"eos_token_id,omitempty"`
	Pad              json.RawMessage `json:"pad_token_id,omitempty"`
}

// hfVision is vision_config.
type hfVision struct {
	ModelType        string  `json:"model_type,omitempty"`
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	ProjectionDim    int     `json:"projection_dim,omitempty"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	Channels         int     `json:"num_channels"`
	ImageSize        Size    `json:"image_size,omitzero"`
	PatchSize        Size    `json:"patch_size"`
	Patches          int     `json:"num_patches,omitempty"` // SigLIP 2's, a square number: of the table of positions
	Activation       string  `json:"hidden_act"`
	Eps              float64 `json:"layer_norm_eps"`
	Head             *bool   `json:"vision_use_head,omitempty"` // SigLIP's
}

// What the classes of transformers 5 fill in, but for eos_token_id.
var (
	hfClipText     = hfText{VocabSize: 49408, HiddenSize: 512, IntermediateSize: 2048, Layers: 12, Heads: 8, Positions: 77, Activation: "quick_gelu", Eps: 1e-5}
	hfClipVision   = hfVision{HiddenSize: 768, IntermediateSize: 3072, Layers: 12, Heads: 12, Channels: 3, ImageSize: Square(224), PatchSize: Square(32), Activation: "quick_gelu", Eps: 1e-5}
	hfSiglipText   = hfText{VocabSize: 32000, HiddenSize: 768, IntermediateSize: 3072, Layers: 12, Heads: 12, Positions: 64, Activation: "gelu_pytorch_tanh", Eps: 1e-6}
	hfSiglipVision = hfVision{HiddenSize: 768, IntermediateSize: 3072, Layers: 12, Heads: 12, Channels: 3, ImageSize: Square(224), PatchSize: Square(16), Activation: "gelu_pytorch_tanh", Eps: 1e-6}
)

// ParseHuggingFace reads config.json as the config under which goclip computes what transformers computes.
func ParseHuggingFace(data []byte) (*Config, error) {
	h := hfConfig{}
	if err := json.Unmarshal(data, &h); err != nil {
		return nil, fmt.Errorf("clip: config: not transformers' JSON: %w", err)
	}
	text, vision := hfClipText, hfClipVision
	switch h.ModelType {
	case "clip", "metaclip_2":
	case "clipseg": // of which the CLIP is read
		h.ModelType = "clip"
	case "siglip":
		text, vision = hfSiglipText, hfSiglipVision
	case "siglip2":
		text, vision = hfSiglipText, hfSiglipVision
		vision.Patches = 256
	case "chinese_clip", "altclip":
		return h.encoder()
	default:
		return nil, fmt.Errorf("clip: config: model_type is %q; of transformers' models goclip has altclip, chinese_clip, clip, clipseg, metaclip_2, siglip and siglip2", h.ModelType)
	}
	if err := errors.Join(readTower(&text, h.Text, h.TextReplaced, "text_config"), readTower(&vision, h.Vision, h.VisionReplaced, "vision_config")); err != nil {
		return nil, err
	}
	if h.ModelType == "siglip2" {
		side := int(math.Round(math.Sqrt(float64(vision.Patches))))
		if side < 1 || side*side != vision.Patches {
			return nil, fmt.Errorf("clip: config: vision_config.num_patches is %d; it must be a square number, because positions are a square", vision.Patches)
		}
		vision.ImageSize = Square(side * vision.PatchSize.Height)
	}
	c, err := h.config(text, vision)
	if err != nil {
		return nil, err
	}
	return c, c.Complete()
}

// readTower fills a tower's config, from the object that replaces it if there is one.
func readTower(to any, own, replaced json.RawMessage, name string) error {
	if len(replaced) > 0 && string(replaced) != "null" {
		own = replaced
	}
	if len(own) == 0 || string(own) == "null" {
		return nil
	}
	if err := json.Unmarshal(own, to); err != nil {
		return fmt.Errorf("clip: config: %s: %w", name, err)
	}
	return nil
}

func (h hfConfig) config(text hfText, vision hfVision) (*Config, error) {
	p := &problems{}
	textAct, textQuick := hfActivation(p, "text_config", text.Activation)
	visionAct, visionQuick := hfActivation(p, "vision_config", vision.Activation)
	p.check(textQuick == visionQuick, "text_config.hidden_act is %q and vision_config.hidden_act %q: QuickGELU goes for both towers or for none", text.Activation, vision.Activation)
	p.check(vision.Channels == 3, "vision_config.num_channels is %d, and images have 3", vision.Channels)
	p.check(vision.PatchSize.Height == vision.PatchSize.Width, "vision_config.patch_size is %v; patches must be square", vision.PatchSize)
	ok := p.positive("vision_config.num_attention_heads", vision.Heads) && p.positive("vision_config.hidden_size", vision.HiddenSize)
	ok = p.positive("vision_config.intermediate_size", vision.IntermediateSize) && ok
	ok = p.positive("text_config.hidden_size", text.HiddenSize) && p.positive("text_config.intermediate_size", text.IntermediateSize) && ok
	if !ok || len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	p.check(vision.HiddenSize%vision.Heads == 0, "vision_config.hidden_size %d is not a multiple of num_attention_heads %d", vision.HiddenSize, vision.Heads)
	c := &Config{
		EmbedDim:  cmp.Or(h.ProjectionDim, 512),
		QuickGELU: textQuick,
		Vision: VisionConfig{ImageSize: vision.ImageSize, Layers: Layers{vision.Layers}, Width: vision.HiddenSize, HeadWidth: vision.HiddenSize / vision.Heads,
			MLPRatio: MLPRatio(vision.IntermediateSize, vision.HiddenSize), PatchSize: vision.PatchSize.Height, NormOptions: hfNorm(vision.Eps), ActOptions: visionAct},
		Text: TextConfig{ContextLength: text.Positions, VocabSize: text.VocabSize, Width: text.HiddenSize, Heads: text.Heads, Layers: text.Layers,
			MLPRatio: MLPRatio(text.IntermediateSize, text.HiddenSize), NormOptions: hfNorm(text.Eps), ActOptions: textAct},
	}
	if h.ModelType == "siglip" || h.ModelType == "siglip2" {
		h.siglip(p, c, text, vision)
	} else {
		h.pooling(p, c, text)
	}
	return c, errors.Join(p.errs...)
}

// pooling says where a CLIP's text feature is read. eos_token_id 2 of a CLIPModel means the largest id (transformers
// pull request 24773); otherwise it is the first end token, the same one where the end token is the largest.
func (h hfConfig) pooling(p *problems, c *Config, text hfText) {
	end := 49407 // of transformers since 4.31; the files of those before say 2
	if err := json.Unmarshal(text.End, &end); len(text.End) > 0 && err != nil {
		p.check(false, "text_config.eos_token_id is %s; it must be one number", text.End)
		return
	}
	if end != text.VocabSize-1 && (end != 2 || h.ModelType != "clip") {
		c.Text.PoolType, c.Text.EOSID = "eos", &end
	}
	if text.VocabSize != hfClipText.VocabSize {
		c.Text.HFTokenizerName = cmp.Or(h.Name, h.ModelType)
	}
}

// siglip makes the config of a SiglipModel: timm's image tower, and open_clip's text tower without a mask.
func (h hfConfig) siglip(p *problems, c *Config, text hfText, vision hfVision) {
	p.check(vision.Head == nil || *vision.Head, "vision_config.vision_use_head is false; an image has no feature without the head")
	p.check(vision.Eps == 1e-6, "vision_config.layer_norm_eps is %g; SigLIP's image tower has 1e-6", vision.Eps)
	name := ""
	for known, t := range timm.ViTs {
		same := t.Pool == "map" && t.NaFlex == (h.ModelType == "siglip2") && Square(t.Image) == vision.ImageSize && t.Patch == vision.PatchSize.Height && t.Width == vision.HiddenSize &&
			t.Depth == vision.Layers && t.Heads == vision.Heads && int(float64(t.Width)*t.MLPRatio) == vision.IntermediateSize
		// Of two that differ by the activation alone either serves: ActOptions decides.
		if same && (name == "" || known < name) {
			name = known
		}
	}
	p.check(name != "", "vision_config: no published SigLIP has %d blocks of width %d with %d heads on %v pixels in patches of %v", vision.Layers, vision.HiddenSize, vision.Heads, vision.ImageSize, vision.PatchSize)
	bias := -10.0
	c.EmbedDim, c.CustomText, c.InitLogitBias = vision.HiddenSize, true, &bias
	if c.Vision.ActOptions == nil {
		c.Vision.ActOptions = &ActOptions{Approximate: "none"}
	}
	if t, ok := timm.ViTs[name]; ok && t.Tanh == (c.Vision.ActOptions.Approximate == "tanh") {
		c.Vision.ActOptions = nil // the name says so
	}
	c.Vision = VisionConfig{ImageSize: vision.ImageSize, Layers: c.Vision.Layers, Width: c.Vision.Width, TimmModelName: name, TimmPool: "map", TimmProj: "none", ActOptions: c.Vision.ActOptions}
	c.Text.NoCausalMask, c.Text.ProjBias, c.Text.PoolType = true, true, "last"
	c.Text.TokenizerOptions = &TokenizerOptions{Clean: "canonicalize"}
	if h.ModelType == "siglip2" { // transformers' Siglip2Tokenizer leaves the punctuation
		c.Text.TokenizerOptions.Clean = "lowercase"
	}
	c.Text.HFTokenizerName = cmp.Or(h.Name, h.ModelType)
	if size := cmp.Or(text.ProjectionSize, text.HiddenSize); size != c.EmbedDim {
		p.check(false, "text_config.projection_size is %d, and the image tower's features have %d numbers", size, c.EmbedDim)
	}
}

// encoderKinds are the models of CLIP's own image tower and an encoder whose first token is projected.
var encoderKinds = map[string]struct {
	base       EncoderConfig // what transformers' class fills in
	projection int
	context    int // that the models were trained with; the encoder's positions are more
}{
	"chinese_clip": {encoders["bert-base-uncased"], 512, 52},
	"altclip":      {altRoberta, 768, 77},
}

// encoder makes the config of a ChineseCLIPModel or an AltCLIPModel.
func (h hfConfig) encoder() (*Config, error) {
	type plain EncoderConfig // transformers writes more fields than a tower has
	kind := encoderKinds[h.ModelType]
	vision, text := hfClipVision, plain(kind.base)
	if err := errors.Join(readTower(&text, h.Text, h.TextReplaced, "text_config"), readTower(&vision, h.Vision, h.VisionReplaced, "vision_config")); err != nil {
		return nil, err
	}
	text.ModelType = kind.base.ModelType
	encoder, name := EncoderConfig(text), h.ModelType
	h.ModelType, h.ProjectionDim = "clip", cmp.Or(h.ProjectionDim, kind.projection) // CLIP's is the image tower
	own := hfClipText
	own.Activation = vision.Activation
	c, err := h.config(own, vision)
	if err != nil {
		return nil, err
	}
	c.Text = TextConfig{ContextLength: min(kind.context, encoder.Positions-encoder.firstPosition()), HFModelName: name, HFModelConfig: &encoder,
		HFTokenizerName: cmp.Or(h.Name, name), HFProjType: "linear", HFPoolerType: "cls_last_hidden_state_pooler"}
	return c, c.Complete()
}

func hfActivation(p *problems, tower, name string) (options *ActOptions, quick bool) {
	switch name {
	case "quick_gelu":
		return nil, true
	case "gelu":
		return nil, false
	case "gelu_pytorch_tanh", "gelu_new", "gelu_fast": // three spellings of one formula
		return &ActOptions{Approximate: "tanh"}, false
	}
	p.check(false, "%s.hidden_act is %q; goclip has quick_gelu, gelu and gelu_pytorch_tanh", tower, name)
	return nil, false
}

// hfNorm leaves out open_clip's own epsilon.
func hfNorm(eps float64) *NormOptions {
	if eps == 1e-5 {
		return nil
	}
	return &NormOptions{Eps: eps}
}

// MLPRatio returns the mlp_ratio that gives back the hidden size, which open_clip rounds down; 0, for the default, if it is 4.
func MLPRatio(hidden, width int) float64 {
	if hidden == 4*width {
		return 0
	}
	r := float64(hidden) / float64(width)
	if int(float64(width)*r) < hidden {
		r = (float64(hidden) + 0.5) / float64(width)
	}
	return r
}

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
