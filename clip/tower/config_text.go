package tower

import (
	"fmt"
	"strings"
)

// TextConfig is a text tower: a transformer over tokens or, with HFModelName, an encoder of Hugging Face's.
type TextConfig struct {
	ContextLength int     `json:"context_length"`
	VocabSize     int     `json:"vocab_size"`
	Width         int     `json:"width"`
	Heads         int     `json:"heads"`
	Layers        int     `json:"layers"`
	MLPRatio      float64 `json:"mlp_ratio,omitempty"` // 4

	LSInitValue      *float64     `json:"ls_init_value,omitempty"` // scales each branch of a block, beginning here (arXiv 2103.17239)
	EmbedCls         bool         `json:"embed_cls,omitempty"`     // a class token at the end becomes the feature (arXiv 2205.01917)
	PadID            int          `json:"pad_id,omitempty"`
	EOSID            *int         `json:"eos_id,omitempty"` // of PoolType eos; 2
	NoCausalMask     bool         `json:"no_causal_mask,omitempty"`
	FinalLnAfterPool bool         `json:"final_ln_after_pool,omitempty"` // open_clip reads it and does nothing with it
	PoolType         string       `json:"pool_type,omitempty"`           // argmax, eos, first, last
	ProjBias         bool         `json:"proj_bias,omitempty"`
	ProjType         string       `json:"proj_type,omitempty"` // linear, none
	OutputTokens     bool         `json:"output_tokens,omitempty"`
	NormOptions      *NormOptions `json:"norm_kwargs,omitempty"`
	ActOptions       *ActOptions  `json:"act_kwargs,omitempty"`

	HFTokenizerName  string            `json:"hf_tokenizer_name,omitempty"`
	TokenizerOptions *TokenizerOptions `json:"tokenizer_kwargs,omitempty"`

	HFModelName       string         `json:"hf_model_name,omitempty"`
	HFModelPretrained *bool          `json:"hf_model_pretrained,omitempty"` // of open_clip's training: no part of the architecture
	HFModelConfig     *EncoderConfig `json:"hf_model_config,omitempty"`     // for a HFModelName that is not built in
	HFProjType        string         `json:"hf_proj_type,omitempty"`        // mlp, linear, none
	HFPoolerType      string         `json:"hf_pooler_type,omitempty"`      // mean_pooler, max_pooler, cls_pooler, cls_last_hidden_state_pooler
}

// TokenizerOptions are open_clip's tokenizer_kwargs.
type TokenizerOptions struct {
	Clean         string `json:"clean,omitempty"`           // lower, whitespace, canonicalize; lowercase is goclip's own
	Language      string `json:"language,omitempty"`        // of texts, in NLLB's names; eng_Latn
	StripSepToken bool   `json:"strip_sep_token,omitempty"` // 0 stands for the separator that ends a text, as CLIPA's models were trained
}

// String says what the tower is in a line: "12 layers of width 512, 77 tokens of 49408".
func (t TextConfig) String() string {
	return fmt.Sprintf("%d layers of width %d, %d tokens of %d", t.Layers, t.Width, t.ContextLength, t.VocabSize)
}

func (t *TextConfig) fillDefaults() {
	setDefault(&t.MLPRatio, 4)
	if t.HFModelName == "" {
		return
	}
	if hf, ok := t.Encoder(); ok {
		t.VocabSize, t.Width, t.Heads, t.Layers = hf.VocabSize, hf.HiddenSize, hf.Heads, hf.Layers
		t.MLPRatio = float64(hf.IntermediateSize) / float64(max(1, hf.HiddenSize))
	}
	setDefault(&t.HFProjType, "mlp")
	setDefault(&t.HFPoolerType, "mean_pooler")
}

// Encoder returns the Hugging Face tower's own config.
func (t TextConfig) Encoder() (EncoderConfig, bool) {
	if t.HFModelConfig != nil {
		return *t.HFModelConfig, true
	}
	hf, ok := encoders[t.HFModelName]
	return hf, ok
}

func (t TextConfig) validate(p *problems, c *Config) {
	ok := true
	for _, f := range []struct {
		name  string
		value int
	}{{"context_length", t.ContextLength}, {"vocab_size", t.VocabSize}, {"width", t.Width}, {"heads", t.Heads}, {"layers", t.Layers}} {
		ok = p.positive("text_cfg."+f.name, f.value) && ok
	}
	p.check(t.Layers <= 1<<10, "text_cfg.layers %d are beyond any model", t.Layers)
	p.check(!t.OutputTokens || c.Multimodal != nil, "text_cfg.output_tokens serves a captioner; multimodal_cfg would describe it")
	p.options("text_cfg", t.NormOptions, t.ActOptions, c.QuickGELU)
	if o := t.TokenizerOptions; o != nil {
		p.oneOf("text_cfg.tokenizer_kwargs.clean", o.Clean, "lower", "whitespace", "canonicalize", "lowercase")
	}
	if t.HFModelName != "" {
		t.validateHF(p, c)
		return
	}
	if ok {
		p.check(t.Width%t.Heads == 0, "text_cfg.width %d is not a multiple of heads %d", t.Width, t.Heads)
		p.check(t.ContextLength >= 2, "text_cfg.context_length %d has no room for the start and end tokens", t.ContextLength)
	}
	p.check(t.MLPRatio > 0, "text_cfg.mlp_ratio must be positive")
	p.oneOf("text_cfg.pool_type", t.PoolType, "argmax", "eos", "first", "last") // "none" leaves a text without one feature
	p.oneOf("text_cfg.proj_type", t.ProjType, "linear", "none")
	p.check(t.ProjType != "none" || t.Width == c.EmbedDim, "embed_dim is %d, and text_cfg.width %d has no projection to it", c.EmbedDim, t.Width)
	p.check(!t.EmbedCls || c.CustomText, "text_cfg.embed_cls takes custom_text: OpenAI's flat keys have no place for the class token")
	p.check(t.HFModelConfig == nil, "text_cfg.hf_model_config stands without hf_model_name")
}

func (t TextConfig) validateHF(p *problems, c *Config) {
	hf, ok := t.Encoder()
	p.check(ok, "text_cfg.hf_model_name %q: must be one of %s; hf_model_config would describe another", t.HFModelName, strings.Join(encoderNames(), ", "))
	p.oneOf("text_cfg.hf_proj_type", t.HFProjType, "mlp", "linear", "none")
	p.oneOf("text_cfg.hf_pooler_type", t.HFPoolerType, "mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler")
	if !ok {
		return
	}
	p.check(t.HFProjType != "none" || hf.HiddenSize == c.EmbedDim, "embed_dim is %d, and text_cfg.width %d has no projection to it", c.EmbedDim, hf.HiddenSize)
	hf.validate(p, t)
}
