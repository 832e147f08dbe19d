// Package loss holds CLIP's losses as functions of tensors: [Contrastive] and [Sigmoid] as the papers write
// them, and the same with their gradients in tiles, [TiledContrastive] and [TiledSigmoid], which never hold
// the N x N similarities. They run inside torch.Do and panic with *torch.Error.
package loss

import "github.com/goclip/goclip/torch"

// Contrastive returns the symmetric cross-entropy of the B x B similarities, in which the match of image i is text i:
// the mean of the cross-entropies over images and over texts of scale * images @ texts^T (paper, figure 3), for
// normalised features (B, E). It is the readable form: [TiledContrastive] never holds the B x B similarities.
func Contrastive(images, texts, scale *torch.Tensor) *torch.Tensor {
	logits := images.MatMul(texts.T()).Mul(scale) // (B, B)
	match := torch.ArangeLike(logits, logits.Size(0))
	return logits.CrossEntropy(match).Add(logits.T().CrossEntropy(match)).MulScalar(0.5)
}

// Sigmoid asks of each of the B x B pairs separately whether it matches: the sum of -log sigmoid(z * (scale * images
// @ texts^T + bias)) over all pairs, divided by B, where z is 1 for image i with text i and -1 else (SigLIP, Zhai et
// al., arXiv 2303.15343, algorithm 1; open_clip src/open_clip/loss.py SigLipLoss), for normalised features (B, E).
// [TiledSigmoid] never holds the B x B pairs.
func Sigmoid(images, texts, scale, bias *torch.Tensor) *torch.Tensor {
	logits := images.MatMul(texts.T()).Mul(scale).Add(bias) // (B, B)
	n := logits.Size(0)
	at := torch.ArangeLike(logits, n)
	match := at.Unsqueeze(1).Eq(at).To(logits.Device(), logits.DType()) // the identity matrix
	z := match.MulScalar(2).AddScalar(-1)
	return logits.Mul(z).LogSigmoid().Sum().MulScalar(-1 / float64(n))
}
