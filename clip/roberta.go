package clip

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// RobertaConfig is a RoBERTa or XLM-RoBERTa under the names of transformers' config.json. What a JSON leaves out is
// roberta-base's.
type RobertaConfig struct {
	VocabSize        int     `json:"vocab_size"`
	HiddenSize       int     `json:"hidden_size"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	IntermediateSize int     `json:"intermediate_size"`
	Activation       string  `json:"hidden_act,omitempty"`    // gelu
	Positions        int     `json:"max_position_embeddings"` // of which PadID + 1 serve no token
	TokenTypes       int     `json:"type_vocab_size"`         // of which the first is used
	PadID            int     `json:"pad_token_id"`
	LayerNormEps     float64 `json:"layer_norm_eps"`
	HiddenDropout    float64 `json:"hidden_dropout_prob"`          // in training only
	AttentionDropout float64 `json:"attention_probs_dropout_prob"` // in training only
}

// robertas are the published sizes: the config.json of each name on the hub.
var robertas = map[string]RobertaConfig{
	"roberta-base":      robertaOf(50265, 768, 12, 12),
	"roberta-large":     robertaOf(50265, 1024, 24, 16),
	"xlm-roberta-base":  robertaOf(250002, 768, 12, 12),
	"xlm-roberta-large": robertaOf(250002, 1024, 24, 16),
}

func robertaOf(vocab, width, layers, heads int) RobertaConfig {
	return RobertaConfig{VocabSize: vocab, HiddenSize: width, Layers: layers, Heads: heads, IntermediateSize: 4 * width,
		Positions: 514, TokenTypes: 1, PadID: 1, LayerNormEps: 1e-5, HiddenDropout: 0.1, AttentionDropout: 0.1}
}

func robertaNames() []string { return slices.Sorted(maps.Keys(robertas)) }

// UnmarshalJSON fills what is left out and refuses what it does not know.
func (c *RobertaConfig) UnmarshalJSON(data []byte) error {
	*c = robertas["roberta-base"]
	type plain RobertaConfig // without this method
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode((*plain)(c))
}

// Roberta is a text tower of Hugging Face's (Liu et al., arXiv 1907.11692; transformers modeling_roberta.py) with the
// pooling and projection of open_clip's hf_model.py. Unlike CLIP's own it sees a text in both directions, normalises
// behind each branch, and has dropout in training.
type Roberta struct {
	Words      *nn.Weight      `torch:"transformer.embeddings.word_embeddings"`       // (V, W)
	Positions  *nn.Weight      `torch:"transformer.embeddings.position_embeddings"`   // (P, W)
	TokenTypes *nn.Weight      `torch:"transformer.embeddings.token_type_embeddings"` // (types, W)
	Ln         *nn.LayerNorm   `torch:"transformer.embeddings.LayerNorm"`
	Layers     []*RobertaLayer `torch:"transformer.encoder.layer"`
	Pooler     *nn.Linear      `torch:"transformer.pooler.dense"` // nil but with cls_pooler
	Proj       *nn.Linear      `torch:"proj"`                     // hf_proj_type linear: (E, W), no bias
	ProjIn     *nn.Linear      `torch:"proj.0"`                   // hf_proj_type mlp: ((W+E)/2, W), no bias
	ProjOut    *nn.Linear      `torch:"proj.2"`                   // (E, (W+E)/2), no bias
	config     RobertaConfig
	pooler     string
	training   bool
}

// RobertaLayer is a post-norm residual block.
type RobertaLayer struct {
	Query        *nn.Linear    `torch:"attention.self.query"`
	Key          *nn.Linear    `torch:"attention.self.key"`
	Value        *nn.Linear    `torch:"attention.self.value"`
	AttentionOut *nn.Linear    `torch:"attention.output.dense"`
	AttentionLn  *nn.LayerNorm `torch:"attention.output.LayerNorm"`
	Intermediate *nn.Linear    `torch:"intermediate.dense"`
	Output       *nn.Linear    `torch:"output.dense"`
	OutputLn     *nn.LayerNorm `torch:"output.LayerNorm"`
}

func newRoberta(c *Config) *Roberta {
	h, _ := c.Text.roberta() // validate has found it
	w, norm := h.HiddenSize, &NormOptions{Eps: h.LayerNormEps}
	r := &Roberta{
		Words:      &nn.Weight{Weight: nn.Parameter(h.VocabSize, w)},
		Positions:  &nn.Weight{Weight: nn.Parameter(h.Positions, w)},
		TokenTypes: &nn.Weight{Weight: nn.Parameter(h.TokenTypes, w)},
		Ln:         newLayerNorm(w, norm),
		config:     h,
		pooler:     c.Text.HFPoolerType,
	}
	for range h.Layers {
		r.Layers = append(r.Layers, &RobertaLayer{
			Query: nn.NewLinear(w, w), Key: nn.NewLinear(w, w), Value: nn.NewLinear(w, w),
			AttentionOut: nn.NewLinear(w, w), AttentionLn: newLayerNorm(w, norm),
			Intermediate: nn.NewLinear(w, h.IntermediateSize), Output: nn.NewLinear(h.IntermediateSize, w), OutputLn: newLayerNorm(w, norm),
		})
	}
	if r.pooler == "cls_pooler" {
		r.Pooler = nn.NewLinear(w, w)
	}
	switch c.Text.HFProjType {
	case "linear":
		r.Proj = &nn.Linear{Weight: nn.Parameter(c.EmbedDim, w)}
	case "mlp":
		hidden := (w + c.EmbedDim) / 2
		r.ProjIn, r.ProjOut = &nn.Linear{Weight: nn.Parameter(hidden, w)}, &nn.Linear{Weight: nn.Parameter(c.EmbedDim, hidden)}
	}
	return r
}

// Forward maps tokens (B, T) int64, padded to the right, to features (B, E).
//
// What is padding in every text is cut off first: padding is masked as a key and left out by every pooler, so it
// reaches neither the output nor a gradient.
func (r *Roberta) Forward(tokens *torch.Tensor) *torch.Tensor {
	real := tokens.NeScalar(r.config.PadID).To(tokens.Device(), torch.Int64) // (B, T), 1 or 0
	used := real.SumDim(0).NeScalar(0).To(tokens.Device(), torch.Int64)      // (T)
	place := torch.ArangeLike(tokens, tokens.Size(1)+1).Narrow(0, 1, tokens.Size(1))
	length := max(1, int(used.Mul(place).Max().Item()))
	tokens, real = tokens.Narrow(1, 0, length), real.Narrow(1, 0, length)
	x := torch.Tidy(func(tokens *torch.Tensor) *torch.Tensor { return r.embed(tokens, real) }, tokens)
	b := real.Size(0)
	mask := real.NeScalar(0).View(b, 1, 1, length).Expand(b, 1, length, length) // (B, 1, query, key)
	for _, l := range r.Layers {
		x = torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return r.layer(l, x, mask) }, x)
	}
	return r.project(r.pool(x, real))
}

// embed adds up what a token is, where it stands and the only type of text: (B, T) -> (B, T, W). Positions count the
// real tokens from PadID + 1 on; padding has the position PadID.
func (r *Roberta) embed(tokens, real *torch.Tensor) *torch.Tensor {
	at := real.Cumsum(1).Mul(real)
	positions := tokens.Borrow(r.Positions.Weight).Narrow(0, r.config.PadID, r.config.Positions-r.config.PadID)
	x := tokens.Embedding(r.Words.Weight).Add(tokens.Borrow(r.TokenTypes.Weight).Narrow(0, 0, 1))
	return r.drop(r.Ln.Forward(x.Add(at.Embedding(positions))))
}

// layer maps (B, T, W) to (B, T, W).
func (r *Roberta) layer(l *RobertaLayer, x, mask *torch.Tensor) *torch.Tensor {
	shape := x.Shape()
	b, t, w := shape[0], shape[1], shape[2]
	heads := func(x *torch.Tensor) *torch.Tensor { // (B, heads, T, W/heads)
		return x.View(b, t, r.config.Heads, w/r.config.Heads).Transpose(1, 2)
	}
	dropout := 0.0
	if r.training {
		dropout = r.config.AttentionDropout
	}
	y := torch.MaskedAttention(heads(l.Query.Forward(x)), heads(l.Key.Forward(x)), heads(l.Value.Forward(x)), mask, dropout)
	y = r.drop(l.AttentionOut.Forward(y.Transpose(1, 2).Reshape(b, t, w)))
	x = l.AttentionLn.Forward(y.Add(x))
	y = r.drop(l.Output.Forward(l.Intermediate.Forward(x).Gelu()))
	return l.OutputLn.Forward(y.Add(x))
}

func (r *Roberta) drop(x *torch.Tensor) *torch.Tensor {
	if r.training && r.config.HiddenDropout > 0 {
		return x.Dropout(r.config.HiddenDropout)
	}
	return x
}

// pool makes one row of a text's: (B, T, W) -> (B, W).
func (r *Roberta) pool(x, real *torch.Tensor) *torch.Tensor {
	switch r.pooler {
	case "mean_pooler":
		real = real.To(x.Device(), x.DType()).Unsqueeze(2) // (B, T, 1)
		return x.Mul(real).SumDim(1).Div(real.SumDim(1))
	case "max_pooler": // open_clip 3.3.0's own cannot run: it takes the mask for the padding, and as numbers
		return x.MaskedFill(real.EqScalar(0).Unsqueeze(2), math.Inf(-1)).MaxDim(1)
	case "cls_pooler":
		return r.Pooler.Forward(x.Select(1, 0)).Tanh()
	default: // cls_last_hidden_state_pooler
		return x.Select(1, 0)
	}
}

// project maps (B, W) to (B, E).
func (r *Roberta) project(x *torch.Tensor) *torch.Tensor {
	switch {
	case r.Proj != nil:
		return r.Proj.Forward(x)
	case r.ProjIn != nil:
		return r.ProjOut.Forward(r.ProjIn.Forward(x).Gelu())
	default:
		return x
	}
}

// SetTraining switches dropout.
func (r *Roberta) SetTraining(on bool) { r.training = on }

// initialize is transformers' _init_weights with its initializer_range 0.02 (modeling_utils.py): a normal distribution,
// no bias, nothing for padding. The projection keeps PyTorch's default.
func (r *Roberta) initialize(s *torch.Scope) {
	for _, w := range []*nn.Weight{r.Words, r.Positions, r.TokenTypes} {
		normal(s, w.Weight, 0.02)
	}
	for _, w := range []*nn.Weight{r.Words, r.Positions} {
		s.Alias(w.Weight).Select(0, r.config.PadID).Fill(0)
	}
	for _, l := range r.linears() {
		normal(s, l.Weight, 0.02)
	}
}

func (r *Roberta) initializeBiases(s *torch.Scope) {
	for _, l := range r.linears() {
		s.Alias(l.Bias).Fill(0)
	}
}

func (r *Roberta) linears() []*nn.Linear {
	var all []*nn.Linear
	for _, l := range r.Layers {
		all = append(all, l.Query, l.Key, l.Value, l.AttentionOut, l.Intermediate, l.Output)
	}
	if r.Pooler != nil {
		all = append(all, r.Pooler)
	}
	return all
}
