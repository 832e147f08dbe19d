package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

var opRMSNorm = torch.NewOp("aten::rms_norm")

// MT5 is the encoder of mT5 (Xue et al., arXiv 2010.11934; transformers modeling_mt5.py) as a text tower: a transformer
// that normalises before each branch, by size alone, whose perceptrons are gated, and whose attention knows how far two
// tokens are apart and no positions. It has dropout in training.
type MT5 struct {
	Words  *nn.Weight   `torch:"transformer.embed_tokens"` // (V, W)
	Blocks []*MT5Block  `torch:"transformer.block"`
	Norm   *RMSNorm     `torch:"transformer.final_layer_norm"`
	Head   *EncoderHead `torch:""`
	encoder
}

// MT5Block is a pre-norm residual block. Nothing in it has a bias.
type MT5Block struct {
	Query    *nn.Linear `torch:"layer.0.SelfAttention.q"` // (heads*D, W)
	Key      *nn.Linear `torch:"layer.0.SelfAttention.k"`
	Value    *nn.Linear `torch:"layer.0.SelfAttention.v"`
	Out      *nn.Linear `torch:"layer.0.SelfAttention.o"`                       // (W, heads*D)
	Relative *nn.Weight `torch:"layer.0.SelfAttention.relative_attention_bias"` // (buckets, heads), of the first block for all; else nil
	Norm     *RMSNorm   `torch:"layer.0.layer_norm"`
	Gate     *nn.Linear `torch:"layer.1.DenseReluDense.wi_0"`
	Fc1      *nn.Linear `torch:"layer.1.DenseReluDense.wi_1"`
	Fc2      *nn.Linear `torch:"layer.1.DenseReluDense.wo"`
	MLPNorm  *RMSNorm   `torch:"layer.1.layer_norm"`
}

// RMSNorm divides by the root of the mean square (Zhang and Sennrich, arXiv 1910.07467).
type RMSNorm struct {
	Weight *torch.Tensor `torch:"weight"` // (W)
	eps    float64
}

// Forward keeps the shape (..., W).
func (n *RMSNorm) Forward(x *torch.Tensor) *torch.Tensor {
	return opRMSNorm.Call(x, []int{n.Weight.Size(0)}, n.Weight, n.eps)
}

// mt5Buckets is how many distances attention tells apart, half of them for each direction.
const mt5Buckets = 32

func newMT5(c *Config) *MT5 {
	h, _ := c.Text.Encoder() // validate has found it
	w, inner := h.HiddenSize, h.Heads*h.headWidth()
	norm := func() *RMSNorm { return &RMSNorm{Weight: nn.Constant(1, w), eps: h.LayerNormEps} }
	bare := func(in, out int) *nn.Linear { return &nn.Linear{Weight: nn.Parameter(out, in)} }
	m := &MT5{Words: &nn.Weight{Weight: nn.Parameter(h.VocabSize, w)}, Norm: norm(), Head: newEncoderHead(c, h), encoder: encoder{config: h}}
	for i := range h.Layers {
		b := &MT5Block{Query: bare(w, inner), Key: bare(w, inner), Value: bare(w, inner), Out: bare(inner, w), Norm: norm(),
			Gate: bare(w, h.IntermediateSize), Fc1: bare(w, h.IntermediateSize), Fc2: bare(h.IntermediateSize, w), MLPNorm: norm()}
		if i == 0 {
			b.Relative = &nn.Weight{Weight: nn.Parameter(mt5Buckets, h.Heads)}
		}
		m.Blocks = append(m.Blocks, b)
	}
	return m
}

// Forward maps tokens (B, T) int64, padded to the right, to features (B, E). Tokens on the host are best, wherever the weights are.
func (m *MT5) Forward(tokens *torch.Tensor) *torch.Tensor {
	texts := m.arrange(tokens, m.Words.Weight)
	x := m.drop(texts.ids.Embedding(m.Words.Weight))
	buckets := mt5Distances(texts.groups[len(texts.groups)-1].tokens) // of the longest text
	for i, b := range m.Blocks {
		module := []any{b}
		if i > 0 {
			module = append(module, m.Blocks[0].Relative) // which every block reads
		}
		x = m.checkpointing.block(module, func(x, real *torch.Tensor) *torch.Tensor { return m.block(b, x, buckets, texts.with(real)) }, x, texts.real)
	}
	return m.Head.forward(m.drop(m.Norm.Forward(x)), texts)
}

// mt5Distances are the buckets from every query to every key, (tokens, tokens), on the host: a block that is computed again
// uploads them again.
func mt5Distances(tokens int) []int64 {
	buckets := make([]int64, 0, tokens*tokens)
	for query := range tokens {
		for key := range tokens {
			buckets = append(buckets, mt5Bucket(key-query))
		}
	}
	return buckets
}

// mt5Bucket numbers a distance: up to 7 tokens each has a bucket, then they widen up to 128 (modeling_mt5.py
// _relative_position_bucket, with its float32).
func mt5Bucket(distance int) int64 {
	const half, exact, longest = mt5Buckets / 2, mt5Buckets / 4, 128
	first := 0
	if distance > 0 {
		first = half
	}
	n := max(distance, -distance)
	if n >= exact {
		log := float32(math.Log(float64(float32(n) / exact)))
		n = min(exact+int(log/float32(math.Log(float64(longest)/exact))*(half-exact)), half-1)
	}
	return int64(first + n)
}

// block maps (1, N, W) to (1, N, W), with the buckets of the longest text's distances.
func (m *MT5) block(b *MT5Block, x *torch.Tensor, buckets []int64, texts arranged) *torch.Tensor {
	longest := texts.groups[len(texts.groups)-1].tokens
	bias := torch.FromSliceLike(x, buckets, longest, longest).Embedding(m.Blocks[0].Relative.Weight).Permute(2, 0, 1).Unsqueeze(0) // (1, heads, query, key)
	y := b.Norm.Forward(x)
	q := b.Query.Forward(y).MulScalar(math.Sqrt(float64(m.config.headWidth()))) // mT5 does not scale the products
	y = texts.attend(q, b.Key.Forward(y), b.Value.Forward(y), m.config.Heads, func(tokens int) *torch.Tensor {
		return bias.Narrow(2, 0, tokens).Narrow(3, 0, tokens).To(x.Device(), q.DType())
	}, m.attentionDropout())
	x = x.Add(m.drop(b.Out.Forward(y)))
	y = b.MLPNorm.Forward(x)
	return x.Add(m.drop(b.Fc2.Forward(m.drop(b.Gate.Forward(y).GeluTanh().Mul(b.Fc1.Forward(y))))))
}

// Groups returns the embeddings, each block, and with the last one the norm behind it. The projection is in none.
func (m *MT5) Groups() []Group { return layers(Group{m.Words}, m.Blocks, m.Norm) }

// Initialize is transformers' _init_weights of modeling_mt5.py: by the fan-in of each matrix, queries as if they were scaled. The
// projection keeps PyTorch's default.
func (m *MT5) Initialize(s *torch.Scope) {
	w, d, hidden := float64(m.config.HiddenSize), float64(m.config.headWidth()), float64(m.config.IntermediateSize)
	normal(s, m.Words.Weight, 1)
	for _, b := range m.Blocks {
		normal(s, b.Query.Weight, 1/math.Sqrt(w*d))
		normal(s, b.Out.Weight, 1/math.Sqrt(float64(m.config.Heads)*d))
		for _, l := range []*nn.Linear{b.Key, b.Value, b.Gate, b.Fc1} {
			normal(s, l.Weight, 1/math.Sqrt(w))
		}
		normal(s, b.Fc2.Weight, 1/math.Sqrt(hidden))
		if b.Relative != nil {
			normal(s, b.Relative.Weight, 1/math.Sqrt(w))
		}
	}
}

// InitializeBiases has nothing to do.
func (m *MT5) InitializeBiases(*torch.Scope) {}

func (m *MT5) Adapted() (all []Adapted) {
	for _, b := range m.Blocks {
		for _, l := range []*nn.Linear{b.Query, b.Key, b.Value, b.Out, b.Gate, b.Fc1, b.Fc2} {
			all = append(all, adaptLinear(l, 1))
		}
	}
	return all
}
