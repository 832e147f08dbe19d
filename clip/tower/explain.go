package tower

import (
	"math"

	"github.com/goclip/goclip/torch"
)

// Localizer is an image tower that can tell which places of an image a feature comes from. Places
// are a transformer's patches or the cells of a convolutional tower's last grid. Both methods take
// one image (1, 3, H, W).
type Localizer interface {
	// Places is the feature of each place on its own, (rows, columns, E) and not L2-normalised: what
	// the tower makes of the image if its last attention sees that place and no other.
	Places(pixels *torch.Tensor) *torch.Tensor
	// Relevance is how much each place adds to a score of the feature (1, E): (rows, columns), never
	// below 0. It needs gradients, and so torch.Do.
	Relevance(pixels *torch.Tensor, score func(feature *torch.Tensor) *torch.Tensor) *torch.Tensor
}

// attention is a way to attend: queries, keys and values (B, heads, T, D) to (B, heads, T, D).
type attention func(q, k, v *torch.Tensor) *torch.Tensor

// scaledDotProduct attends to every position.
func scaledDotProduct(q, k, v *torch.Tensor) *torch.Tensor {
	return torch.ScaledDotProductAttention(q, k, v, false)
}

// onlyValues is what each position would take from itself alone.
func onlyValues(_, _, v *torch.Tensor) *torch.Tensor { return v }

// attentionMaps keeps the probabilities (B, heads, T, S) of each attention that it computes, whose
// result is that of scaled-dot-product attention.
type attentionMaps []*torch.Tensor

func (m *attentionMaps) attend(q, k, v *torch.Tensor) *torch.Tensor {
	p := q.MulScalar(1 / math.Sqrt(float64(q.Size(3)))).MatMul(k.Transpose(2, 3)).Softmax(-1)
	*m = append(*m, p)
	return p.MatMul(v)
}

// rollout traces a score back through self-attention: (T, T), how much each position at the end
// took from each position at the beginning. Of every layer it takes what raised the score, the mean
// over the heads of the positive part of gradient x attention, and adds it to the identity that
// stands for the residual (Chefer et al., arXiv 2103.15679, equations 5 and 6). If the last attention
// is a pool's, without a residual, the result is (queries, T).
func (m attentionMaps) rollout(score *torch.Tensor, pooled bool) *torch.Tensor {
	r := eye(m[0])
	for i, cam := range m.cams(score) {
		if taken := cam.MatMul(r); pooled && i == len(m)-1 {
			r = taken
		} else {
			r = r.Add(taken)
		}
	}
	return r
}

// cams are, for each attention of one image, the mean over the heads of the positive part of
// gradient x attention: (T, S).
func (m attentionMaps) cams(score *torch.Tensor) []*torch.Tensor {
	list := torch.Gradients(score, m...)
	for i, g := range list {
		list[i] = g.Mul(m[i]).Relu().MeanDim(1).Select(0, 0).Detach()
	}
	return list
}

// eye is the identity (T, T) for probabilities (1, heads, T, T).
func eye(p *torch.Tensor) *torch.Tensor {
	n := torch.ArangeLike(p, p.Size(3))
	return n.Unsqueeze(0).Eq(n.Unsqueeze(1)).To(p.Device(), p.DType())
}

// gradCAM is the positive part of the channels of activations (1, C, H, W), each weighed by the
// mean of its gradient: (H, W) (Selvaraju et al., arXiv 1610.02391, equations 1 and 2).
func gradCAM(score, activations *torch.Tensor) *torch.Tensor {
	g := torch.Gradients(score, activations)[0].Flatten(2, 3).MeanDim(2).Unsqueeze(2).Unsqueeze(3) // (1, C, 1, 1)
	return activations.Mul(g).SumDim(1).Relu().Select(0, 0).Detach()
}

// grid lays out what there is for each patch of p x p pixels: (places, ...) -> (rows, columns, ...).
func grid(x, pixels *torch.Tensor, p int) *torch.Tensor {
	return x.Reshape(append([]int{pixels.Size(2) / p, pixels.Size(3) / p}, x.Shape()[1:]...)...)
}

// recorded has an image record gradients, whatever the weights do.
func recorded(pixels *torch.Tensor) *torch.Tensor { return pixels.Detach().SetRequiresGrad(true) }
