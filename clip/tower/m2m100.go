package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// M2M100 is the encoder of NLLB (NLLB Team, arXiv 2207.04672; transformers modeling_m2m_100.py) as a text tower: a
// transformer that normalises before each branch, sees a text in both directions, and whose positions are waves. A text's
// first token names its language. It has dropout in training.
type M2M100 struct {
	Words  *nn.Weight     `torch:"transformer.embed_tokens"` // (V, W)
	Layers []*M2M100Layer `torch:"transformer.layers"`
	Norm   *nn.LayerNorm  `torch:"transformer.layer_norm"`
	Head   *EncoderHead   `torch:""`
	encoder
}

// M2M100Layer is a pre-norm residual block.
type M2M100Layer struct {
	Key     *nn.Linear    `torch:"self_attn.k_proj"`
	Value   *nn.Linear    `torch:"self_attn.v_proj"`
	Query   *nn.Linear    `torch:"self_attn.q_proj"`
	Out     *nn.Linear    `torch:"self_attn.out_proj"`
	Norm    *nn.LayerNorm `torch:"self_attn_layer_norm"` // before attention
	Fc1     *nn.Linear    `torch:"fc1"`
	Fc2     *nn.Linear    `torch:"fc2"`
	MLPNorm *nn.LayerNorm `torch:"final_layer_norm"` // before the perceptron
}

func newM2M100(c *Config) *M2M100 {
	h, _ := c.Text.Encoder() // validate has found it
	w, norm := h.HiddenSize, &NormOptions{Eps: h.LayerNormEps}
	m := &M2M100{Words: &nn.Weight{Weight: nn.Parameter(h.VocabSize, w)}, Norm: newLayerNorm(w, norm), Head: newEncoderHead(c, h), encoder: encoder{config: h}}
	for range h.Layers {
		m.Layers = append(m.Layers, &M2M100Layer{Key: linear(w, w), Value: linear(w, w), Query: linear(w, w), Out: linear(w, w), Norm: newLayerNorm(w, norm),
			Fc1: linear(w, h.IntermediateSize), Fc2: linear(h.IntermediateSize, w), MLPNorm: newLayerNorm(w, norm)})
	}
	return m
}

// Forward maps tokens (B, T) int64, padded to the right, to features (B, E). Tokens on the host are best, wherever the weights are.
func (m *M2M100) Forward(tokens *torch.Tensor) *torch.Tensor {
	texts := m.arrange(tokens, m.Words.Weight)
	x := m.drop(texts.ids.Embedding(m.Words.Weight).MulScalar(math.Sqrt(float64(m.config.HiddenSize))).Add(m.waves(texts.places)))
	for _, l := range m.Layers {
		x = m.checkpointing.block(l, func(x, real *torch.Tensor) *torch.Tensor { return m.layer(l, x, texts.with(real)) }, x, texts.real)
	}
	return m.Head.forward(m.Norm.Forward(x), texts)
}

// waves are sine and cosine of each place at half of the width's frequencies (Vaswani et al., arXiv 1706.03762, but the
// sines come first); of padding they are 0: (1, N) -> (1, N, W).
func (m *M2M100) waves(places *torch.Tensor) *torch.Tensor {
	half := m.config.HiddenSize / 2
	like := places.Borrow(m.Words.Weight)
	frequencies := make([]float32, half)
	step := float32(math.Log(10000) / float64(half-1))
	for i := range frequencies {
		frequencies[i] = float32(math.Exp(float64(-step * float32(i))))
	}
	angles := places.To(places.Device(), torch.Float32).Unsqueeze(2).Mul(torch.FromSliceLike(like, frequencies, half))
	x := torch.Cat(2, angles.Sin(), angles.Cos())
	return x.MaskedFill(places.EqScalar(m.config.PadID).Unsqueeze(2), 0).To(places.Device(), like.DType())
}

// layer maps (1, N, W) to (1, N, W).
func (m *M2M100) layer(l *M2M100Layer, x *torch.Tensor, texts arranged) *torch.Tensor {
	y := l.Norm.Forward(x)
	y = texts.attend(l.Query.Forward(y), l.Key.Forward(y), l.Value.Forward(y), m.config.Heads, nil, m.attentionDropout())
	x = x.Add(m.drop(l.Out.Forward(y)))
	return x.Add(m.drop(l.Fc2.Forward(l.Fc1.Forward(l.MLPNorm.Forward(x)).Relu())))
}

// Groups returns the embeddings, each layer, and with the last one the LayerNorm behind it. The projection is in none.
func (m *M2M100) Groups() []Group { return layers(Group{m.Words}, m.Layers, m.Norm) }

// Initialize is transformers' _init_weights with M2M100's init_std 0.02: a normal distribution, no bias, nothing for
// padding. The projection keeps PyTorch's default.
func (m *M2M100) Initialize(s *torch.Scope) {
	normal(s, m.Words.Weight, 0.02)
	s.Alias(m.Words.Weight).Select(0, m.config.PadID).Fill(0)
	for _, l := range m.linears() {
		normal(s, l.Weight, 0.02)
	}
}

func (m *M2M100) InitializeBiases(s *torch.Scope) {
	for _, l := range m.linears() {
		s.Alias(l.Bias).Fill(0)
	}
}

func (m *M2M100) linears() (all []*nn.Linear) {
	for _, l := range m.Layers {
		all = append(all, l.Query, l.Key, l.Value, l.Out, l.Fc1, l.Fc2)
	}
	return all
}

func (m *M2M100) Adapted() (all []Adapted) {
	for _, l := range m.linears() {
		all = append(all, adaptLinear(l, 1))
	}
	return all
}
