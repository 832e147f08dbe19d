package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Decoder writes captions in a CoCa (Yu et al., arXiv 2205.01917; open_clip transformer.py MultimodalTransformer): blocks
// that read a text's tokens from left to right, and behind each one that attends to the image's.
type Decoder struct {
	Blocks     []*Block      `torch:"resblocks"`
	Cross      []*CrossBlock `torch:"cross_attn"`
	LnFinal    *nn.LayerNorm `torch:"ln_final"`
	Projection *torch.Tensor `torch:"text_projection"` // (W, V)
}

// CrossBlock is a pre-norm residual block whose keys and values are the image's.
type CrossBlock struct {
	Ln1   *nn.LayerNorm   `torch:"ln_1"`
	Attn  *CrossAttention `torch:"attn"`
	Ls1   *LayerScale     `torch:"ls_1"` // nil without ls_init_value
	Ln1KV *nn.LayerNorm   `torch:"ln_1_kv"`
	Ln2   *nn.LayerNorm   `torch:"ln_2"`
	MLP   *MLP            `torch:"mlp"`
	Ls2   *LayerScale     `torch:"ls_2"`
}

// MultimodalConfig is a CoCa's decoder: open_clip's multimodal_cfg. Its images' tokens must have its width.
type MultimodalConfig struct {
	ContextLength int      `json:"context_length"`
	VocabSize     int      `json:"vocab_size"` // not read: the text tower's vocabulary is written
	Width         int      `json:"width"`
	Heads         int      `json:"heads"`
	Layers        int      `json:"layers"`
	LSInitValue   *float64 `json:"ls_init_value,omitempty"`

	// What open_clip's class has and its decoder does not read.
	MLPRatio        float64 `json:"mlp_ratio,omitempty"`
	DimHead         int     `json:"dim_head,omitempty"`
	Queries         int     `json:"n_queries,omitempty"`
	AttnPoolerHeads int     `json:"attn_pooler_heads,omitempty"`
}

func (m *MultimodalConfig) fillDefaults() {
	setDefault(&m.ContextLength, 77)
	setDefault(&m.VocabSize, 49408)
	setDefault(&m.Width, 512)
	setDefault(&m.Heads, 8)
	setDefault(&m.Layers, 12)
}

func (m *MultimodalConfig) validate(p *problems, c *Config) {
	ok := true
	for _, f := range []struct {
		name  string
		value int
	}{{"context_length", m.ContextLength}, {"width", m.Width}, {"heads", m.Heads}, {"layers", m.Layers}} {
		ok = p.positive("multimodal_cfg."+f.name, f.value) && ok
	}
	p.check(!ok || m.Width%m.Heads == 0 && m.Layers <= 1<<10, "multimodal_cfg: width %d is not a multiple of heads %d, or layers %d are beyond any model", m.Width, m.Heads, m.Layers)
	tokens := c.Vision.Width
	if c.Vision.AttentionalPool {
		tokens = c.EmbedDim
	}
	p.check(tokens == m.Width && c.Text.Width == m.Width, "multimodal_cfg.width is %d; the image's tokens have %d numbers and the text's %d", m.Width, tokens, c.Text.Width)
	p.check(c.Vision.TimmModelName == "" && !c.Vision.IsResNet() && c.Vision.OutputTokens && c.Text.OutputTokens, "multimodal_cfg takes a ViT and output_tokens of both towers")
	p.check(c.Text.HFModelName != "" || c.Text.EmbedCls, "multimodal_cfg takes text_cfg.embed_cls")
}

// NewDecoder makes the decoder that a config describes, with weights that are not initialised; nil without multimodal_cfg.
func NewDecoder(c *Config) *Decoder {
	m := c.Multimodal
	if m == nil {
		return nil
	}
	w, act := m.Width, activationOf(c.QuickGELU, nil)
	vocab := c.Text.VocabSize
	if c.Text.HFModelName != "" {
		vocab = 49408 // open_clip's default, whatever the encoder's is
	}
	t := newTransformer(transformerConfig{width: w, heads: m.Heads, layers: m.Layers, mlp: 4 * w, causal: true, act: act, layerScale: m.LSInitValue})
	d := &Decoder{Blocks: t.Blocks, LnFinal: newLayerNorm(w, nil), Projection: nn.Parameter(w, vocab)}
	for range m.Layers {
		d.Cross = append(d.Cross, &CrossBlock{Ln1: newLayerNorm(w, nil), Attn: newCrossAttention(w, w, m.Heads), Ls1: newLayerScale(w, m.LSInitValue),
			Ln1KV: newLayerNorm(w, nil), Ln2: newLayerNorm(w, nil), MLP: &MLP{Fc: linear(w, 4*w), Proj: linear(4*w, w), act: act}, Ls2: newLayerScale(w, m.LSInitValue)})
	}
	return d
}

// Seen is an image as the decoder's blocks look at it: keys and values of each.
type Seen [][2]*torch.Tensor

// See prepares the tokens of images (B, N, W) for [Decoder.Logits].
func (d *Decoder) See(image *torch.Tensor) (seen Seen) {
	for _, b := range d.Cross {
		k, v := b.Attn.keysValues(b.Ln1KV.Forward(image))
		seen = append(seen, [2]*torch.Tensor{k, v})
	}
	return seen
}

// Logits maps the tokens of texts (B, T, W), each of an image that is seen, or all of one, to the logits of each text's next
// token (B, V).
func (d *Decoder) Logits(x *torch.Tensor, seen Seen) *torch.Tensor {
	for i, b := range d.Blocks {
		x = d.Cross[i].forward(b.Forward(x, nil, nil), seen[i])
	}
	return d.LnFinal.Forward(x.Select(1, x.Size(1)-1)).MatMul(d.Projection)
}

// forward maps (B, T, W) to (B, T, W).
func (b *CrossBlock) forward(x *torch.Tensor, seen [2]*torch.Tensor) *torch.Tensor {
	x = x.Add(b.Ls1.Forward(b.Attn.attend(b.Attn.queries(b.Ln1.Forward(x)), seen[0], seen[1], nil)))
	return x.Add(b.Ls2.Forward(b.MLP.Forward(b.Ln2.Forward(x))))
}

// Initialize draws the projection as open_clip's init_parameters does, which open_clip forgets to call. The rest
// keeps PyTorch's defaults.
func (d *Decoder) Initialize(s *torch.Scope) {
	normal(s, d.Projection, 1/math.Sqrt(float64(d.Projection.Size(0))))
}

// InitializeBiases draws what the keys alone do not tell.
func (d *Decoder) InitializeBiases(s *torch.Scope) {
	(&Transformer{Blocks: d.Blocks}).InitializeBiases(s)
	for _, b := range d.Cross {
		initBias(s, b.MLP.Fc)
		initBias(s, b.MLP.Proj)
	}
}
