package clip

import "github.com/goclip/goclip/torch"

// Loss is the model's training loss on B pictures (B, 3, H, W) and their B texts (B, T): [SigmoidLoss] for a config
// with init_logit_bias, which is SigLIP's, else [ContrastiveLoss].
func (m *Model) Loss(pixels, tokens *torch.Tensor) *torch.Tensor {
	images := m.EncodeImage(pixels).Normalize(1) // (B, E)
	texts := m.EncodeText(tokens).Normalize(1)
	scale := images.Borrow(m.LogitScale).Exp()
	if m.LogitBias != nil {
		return SigmoidLoss(images, texts, scale, m.LogitBias)
	}
	return ContrastiveLoss(images, texts, scale)
}

// ContrastiveLoss is the symmetric cross-entropy of the B x B similarities, in which the match of picture i is text i:
// the mean of the cross-entropies over pictures and over texts of scale * images @ texts^T (paper, figure 3), for
// normalised features (B, E). It is the readable form: [TiledContrastive] never holds the B x B similarities.
func ContrastiveLoss(images, texts, scale *torch.Tensor) *torch.Tensor {
	logits := images.MatMul(texts.T()).Mul(scale) // (B, B)
	match := torch.ArangeLike(logits, logits.Size(0))
	return logits.CrossEntropy(match).Add(logits.T().CrossEntropy(match)).MulScalar(0.5)
}

// SigmoidLoss asks of each of the B x B pairs by itself whether it matches: the sum of -log sigmoid(z * (scale * images
// @ texts^T + bias)) over all pairs, divided by B, where z is 1 for picture i with text i and -1 else (SigLIP, Zhai et
// al., arXiv 2303.15343, algorithm 1; open_clip src/open_clip/loss.py SigLipLoss), for normalised features (B, E).
// [TiledSigmoid] never holds the B x B pairs.
func SigmoidLoss(images, texts, scale, bias *torch.Tensor) *torch.Tensor {
	logits := images.MatMul(texts.T()).Mul(scale).Add(bias) // (B, B)
	n := logits.Size(0)
	at := torch.ArangeLike(logits, n)
	match := at.Unsqueeze(1).Eq(at).To(logits.Device(), logits.DType()) // the identity matrix
	z := match.MulScalar(2).AddScalar(-1)
	return logits.Mul(z).LogSigmoid().Sum().MulScalar(-1 / float64(n))
}
