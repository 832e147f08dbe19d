package tower

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// EncoderConfig is an encoder of Hugging Face's under the names of transformers' config.json: a RoBERTa or XLM-RoBERTa, a
// BERT, the encoder of an M2M100, which is NLLB's, or of an mT5. What a JSON leaves out is the base model's of its type.
type EncoderConfig struct {
	ModelType        string  `json:"model_type,omitempty"` // roberta, bert, m2m_100, mt5; "" is roberta
	VocabSize        int     `json:"vocab_size"`
	HiddenSize       int     `json:"hidden_size"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	HeadWidth        int     `json:"d_kv,omitempty"` // of an mT5; else HiddenSize / Heads
	IntermediateSize int     `json:"intermediate_size"`
	Activation       string  `json:"hidden_act,omitempty"`              // the type's own: gelu, relu, gelu_new
	Positions        int     `json:"max_position_embeddings,omitempty"` // of which PadID + 1 serve no token of a RoBERTa; an mT5 has none
	TokenTypes       int     `json:"type_vocab_size,omitempty"`         // of which the first is used
	ProjectDim       int     `json:"project_dim,omitempty"`             // of an AltCLIP: its first token is normalised and mapped to so many numbers, which are projected
	PadID            int     `json:"pad_token_id"`
	LayerNormEps     float64 `json:"layer_norm_eps"`
	HiddenDropout    float64 `json:"hidden_dropout_prob"`          // in training only
	AttentionDropout float64 `json:"attention_probs_dropout_prob"` // in training only
}

// The types of encoders.
const (
	typeRoberta = "roberta"
	typeBERT    = "bert"
	typeM2M100  = "m2m_100"
	typeMT5     = "mt5"
)

// encoders are the published sizes: the config.json of each name on the hub.
var encoders = map[string]EncoderConfig{
	"roberta-base":                     robertaOf(50265, 768, 12, 12),
	"roberta-large":                    robertaOf(50265, 1024, 24, 16),
	"xlm-roberta-base":                 robertaOf(250002, 768, 12, 12),
	"xlm-roberta-large":                robertaOf(250002, 1024, 24, 16),
	"bert-base-uncased":                bertOf(30522, 768, 12, 12),
	"bert-large-uncased":               bertOf(30522, 1024, 24, 16),
	"bert-base-chinese":                bertOf(21128, 768, 12, 12),
	"facebook/nllb-200-distilled-600M": m2m100Of(12, 4096),
	"facebook/nllb-200-distilled-1.3B": m2m100Of(24, 8192),
	"google/mt5-base":                  mt5Of(768, 2048, 12, 12),
	"google/mt5-xl":                    mt5Of(2048, 5120, 24, 32),

	"microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract":          bertOf(30522, 768, 12, 12),
	"microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract":          bertOf(30522, 768, 12, 12),
	"microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext": bertOf(30522, 768, 12, 12),
}

func robertaOf(vocab, width, layers, heads int) EncoderConfig {
	return EncoderConfig{VocabSize: vocab, HiddenSize: width, Layers: layers, Heads: heads, IntermediateSize: 4 * width,
		Positions: 514, TokenTypes: 1, PadID: 1, LayerNormEps: 1e-5, HiddenDropout: 0.1, AttentionDropout: 0.1}
}

// altRoberta is AltCLIPTextConfig's, an XLM-R (Chen et al., arXiv 2211.06679).
var altRoberta = func() EncoderConfig {
	c := robertaOf(250002, 1024, 24, 16)
	c.AttentionDropout, c.ProjectDim = 0, 768
	return c
}()

func bertOf(vocab, width, layers, heads int) EncoderConfig {
	return EncoderConfig{ModelType: typeBERT, VocabSize: vocab, HiddenSize: width, Layers: layers, Heads: heads, IntermediateSize: 4 * width,
		Positions: 512, TokenTypes: 2, LayerNormEps: 1e-12, HiddenDropout: 0.1, AttentionDropout: 0.1}
}

func m2m100Of(layers, hidden int) EncoderConfig {
	return EncoderConfig{ModelType: typeM2M100, VocabSize: 256206, HiddenSize: 1024, Layers: layers, Heads: 16, IntermediateSize: hidden,
		Positions: 1024, PadID: 1, LayerNormEps: 1e-5, HiddenDropout: 0.1, AttentionDropout: 0.1}
}

func mt5Of(width, hidden, layers, heads int) EncoderConfig {
	return EncoderConfig{ModelType: typeMT5, VocabSize: 250112, HiddenSize: width, Layers: layers, Heads: heads, HeadWidth: 64, IntermediateSize: hidden,
		LayerNormEps: 1e-6, HiddenDropout: 0.1, AttentionDropout: 0.1}
}

func encoderNames() []string { return slices.Sorted(maps.Keys(encoders)) }

// encoderBases say what a type leaves out.
var encoderBases = map[string]EncoderConfig{
	"": encoders["roberta-base"], typeRoberta: encoders["roberta-base"], "xlm-roberta": encoders["xlm-roberta-base"],
	typeBERT: encoders["bert-base-uncased"], typeM2M100: encoders["facebook/nllb-200-distilled-600M"], typeMT5: encoders["google/mt5-base"],
}

// encoderNamesOf are the names that M2M100's and mT5's config.json have for the fields.
var encoderNamesOf = map[string]map[string]string{
	typeM2M100: {"d_model": "hidden_size", "encoder_layers": "num_hidden_layers", "encoder_attention_heads": "num_attention_heads",
		"encoder_ffn_dim": "intermediate_size", "activation_function": "hidden_act", "dropout": "hidden_dropout_prob", "attention_dropout": "attention_probs_dropout_prob"},
	typeMT5: {"d_model": "hidden_size", "num_layers": "num_hidden_layers", "num_heads": "num_attention_heads", "d_ff": "intermediate_size",
		"dense_act_fn": "hidden_act", "layer_norm_epsilon": "layer_norm_eps", "dropout_rate": "hidden_dropout_prob"},
}

// UnmarshalJSON fills what is left out and refuses what it does not know.
func (c *EncoderConfig) UnmarshalJSON(data []byte) error {
	var kind struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return err
	}
	base, ok := encoderBases[kind.ModelType]
	if !ok {
		return fmt.Errorf("model_type is %q; goclip has roberta, xlm-roberta, bert, m2m_100 and mt5", kind.ModelType)
	}
	data, err := renameFields(data, encoderNamesOf[kind.ModelType])
	if err != nil {
		return err
	}
	*c = base
	type plain EncoderConfig // without this method
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode((*plain)(c)); err != nil {
		return err
	}
	if kind.ModelType == typeMT5 {
		c.AttentionDropout = c.HiddenDropout
	}
	return nil
}

func renameFields(data []byte, names map[string]string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	renamed := make(map[string]json.RawMessage, len(fields))
	for name, value := range fields {
		if own, ok := names[name]; ok {
			name = own
		}
		renamed[name] = value
	}
	return json.Marshal(renamed)
}

// firstPosition is of a text's first token; the other positions follow it.
func (c EncoderConfig) firstPosition() int {
	if c.ModelType == typeBERT || c.ModelType == typeMT5 {
		return 0
	}
	return c.PadID + 1
}

// Embedded returns the number of positions that are weights: an M2M100's are a formula, and an mT5 has none.
func (c EncoderConfig) Embedded() int {
	if c.ModelType == typeM2M100 || c.ModelType == typeMT5 {
		return 0
	}
	return c.Positions
}

// headWidth is of queries and keys.
func (c EncoderConfig) headWidth() int {
	if c.HeadWidth > 0 {
		return c.HeadWidth
	}
	return c.HiddenSize / c.Heads
}

func (c EncoderConfig) validate(p *problems, t TextConfig) {
	p.check(c.Heads > 0 && c.HiddenSize%max(1, c.Heads) == 0, "text_cfg.hf_model_config: hidden_size %d is not a multiple of num_attention_heads %d", c.HiddenSize, c.Heads)
	ok := p.positive("text_cfg.hf_model_config.intermediate_size", c.IntermediateSize)
	if c.ModelType != typeMT5 && p.positive("text_cfg.hf_model_config.max_position_embeddings", c.Positions) && ok {
		p.check(c.Positions >= t.ContextLength+c.firstPosition(), "text_cfg.context_length %d is longer than the %d positions of %s, less pad_token_id + 1", t.ContextLength, c.Positions, t.HFModelName)
	}
	p.check(c.PadID >= 0 && c.PadID < c.VocabSize, "text_cfg.hf_model_config.pad_token_id %d is not a token", c.PadID)
	own, kind := "gelu", "a RoBERTa"
	switch c.ModelType {
	case typeBERT:
		kind = "a BERT"
	case typeM2M100:
		own, kind = "relu", "M2M100"
	case typeMT5:
		own, kind = "gelu_new", "mT5"
	}
	p.check(c.Activation == "" || c.Activation == own, "text_cfg.hf_model_config.hidden_act is %q; %s has %s", c.Activation, kind, own)
	embeds := c.TokenTypes > 0 || c.ModelType == typeM2M100 || c.ModelType == typeMT5
	p.check(c.LayerNormEps > 0 && embeds, "text_cfg.hf_model_config lacks a positive layer_norm_eps or type_vocab_size")
}
