package tower

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

	checkpointing checkpointing
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
	h, _ := c.Text.Roberta() // validate has found it
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
			Query: linear(w, w), Key: linear(w, w), Value: linear(w, w),
			AttentionOut: linear(w, w), AttentionLn: newLayerNorm(w, norm),
			Intermediate: linear(w, h.IntermediateSize), Output: linear(h.IntermediateSize, w), OutputLn: newLayerNorm(w, norm),
		})
	}
	if r.pooler == "cls_pooler" {
		r.Pooler = linear(w, w)
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

// Forward maps tokens (B, T) int64, padded to the right, to features (B, E). Tokens on the host are best, wherever the weights are.
//
// Padding is masked as a key and left out by every pooler, so what follows a text's last token reaches neither the output
// nor a gradient, and is cut off, as in [Text.Forward], in groups of texts of about one length.
func (r *Roberta) Forward(tokens *torch.Tensor) *torch.Tensor {
	texts := r.sort(torch.ToSlice[int64](tokens.To(torch.CPU, torch.Int64)), tokens.Size(1))
	ids, places, _, order, _ := texts.cut(texts.numbersLike(tokens.Borrow(r.Words.Weight)))
	real := ids.NeScalar(r.config.PadID).Unsqueeze(2) // (1, N, 1)
	x := torch.Tidy(func(ids *torch.Tensor) *torch.Tensor { return r.embed(ids, places) }, ids)
	for _, l := range r.Layers {
		x = r.checkpointing.block(l, func(x, real *torch.Tensor) *torch.Tensor { return r.layer(l, x, real, texts) }, x, real)
	}
	return r.project(r.pool(x, real, texts.groups).Index(order))
}

// robertaTexts is a batch of texts, sorted by length. Their places count the real tokens of a text from PadID + 1 on; padding
// has the place PadID.
type robertaTexts struct {
	*Texts
	padded []bool // whether a group has any padding; if not, attention needs no mask, and has faster kernels without one
}

// sort arranges rows of so many tokens in groups.
func (r *Roberta) sort(tokens []int64, length int) robertaTexts {
	t, pad := robertaTexts{Texts: sortTexts(tokens, length, r.config.ends(tokens, length))}, int64(r.config.PadID)
	first := 0 // row of a text
	for _, g := range t.groups {
		padded := false
		for range g.texts {
			at := pad
			for i := first; i < first+g.tokens; i++ {
				t.places[i] = pad
				if t.ids[i] != pad {
					at++
					t.places[i] = at
				}
				padded = padded || t.ids[i] == pad
			}
			first += g.tokens
		}
		t.padded = append(t.padded, padded)
	}
	return t
}

// ends is where each text's last token stands, of rows of so many tokens; 0 if all is padding.
func (c *RobertaConfig) ends(tokens []int64, length int) []int64 {
	ends := make([]int64, 0, len(tokens)/length)
	for text := range slices.Chunk(tokens, length) {
		end := length - 1
		for end > 0 && text[end] == int64(c.PadID) {
			end--
		}
		ends = append(ends, int64(end))
	}
	return ends
}

// embed adds up what a token is, where it stands and the only type of text: (1, N) -> (1, N, W).
func (r *Roberta) embed(ids, places *torch.Tensor) *torch.Tensor {
	x := ids.Embedding(r.Words.Weight).Add(ids.Borrow(r.TokenTypes.Weight).Narrow(0, 0, 1))
	return r.drop(r.Ln.Forward(x.Add(places.Embedding(r.Positions.Weight))))
}

// layer maps (1, N, W) to (1, N, W). real, (1, N, 1), is false where a token is padding.
func (r *Roberta) layer(l *RobertaLayer, x, real *torch.Tensor, texts robertaTexts) *torch.Tensor {
	dropout := 0.0
	if r.training {
		dropout = r.config.AttentionDropout
	}
	q, k, v := texts.groups.split(l.Query.Forward(x)), texts.groups.split(l.Key.Forward(x)), texts.groups.split(l.Value.Forward(x))
	parts := texts.groups.split(real)
	for i, g := range texts.groups {
		heads := func(x *torch.Tensor) *torch.Tensor { // (texts, heads, tokens, W/heads)
			return x.View(g.texts, g.tokens, r.config.Heads, -1).Transpose(1, 2)
		}
		var mask *torch.Tensor // (texts, 1, query, key)
		if texts.padded[i] {
			mask = parts[i].View(g.texts, 1, 1, g.tokens).Expand(g.texts, 1, g.tokens, g.tokens)
		}
		y := torch.MaskedAttention(heads(q[i]), heads(k[i]), heads(v[i]), mask, dropout)
		parts[i] = y.Transpose(1, 2).Reshape(g.texts, g.tokens, -1)
	}
	y := r.drop(l.AttentionOut.Forward(join(parts)))
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

// pool makes one row of each text's: (1, N, W), (1, N, 1) -> (B, W), in the order of the groups.
func (r *Roberta) pool(x, real *torch.Tensor, groups lengthGroups) *torch.Tensor {
	parts, reals := groups.split(x), groups.split(real)
	for i, x := range parts { // (texts, tokens, W) -> (texts, 1, W)
		switch r.pooler {
		case "mean_pooler":
			real := reals[i].To(x.Device(), x.DType())
			x = x.Mul(real).SumDim(1).Div(real.SumDim(1)).Unsqueeze(1)
		case "max_pooler": // open_clip 3.3.0's own cannot run: it takes the mask for the padding, and as numbers
			x = x.MaskedFill(reals[i].EqScalar(0), math.Inf(-1)).MaxDim(1).Unsqueeze(1)
		default: // the first token's
			x = x.Narrow(1, 0, 1)
		}
		parts[i] = x
	}
	x = join(parts).Select(0, 0)
	if r.Pooler != nil { // cls_pooler
		x = r.Pooler.Forward(x).Tanh()
	}
	return x
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
func (r *Roberta) SetTraining(on bool) { r.training, r.checkpointing.training = on, on }

// Initialize is transformers' _init_weights with its initializer_range 0.02 (modeling_utils.py): a normal distribution,
// no bias, nothing for padding. The projection keeps PyTorch's default.
func (r *Roberta) Initialize(s *torch.Scope) {
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

func (r *Roberta) InitializeBiases(s *torch.Scope) {
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

// SetGradCheckpointing has the blocks computed again in the backward pass.
func (r *Roberta) SetGradCheckpointing(on bool) { r.checkpointing.on = on }
