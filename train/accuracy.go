package train

import (
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
)

// accuracyImages is how many of a step's images look for their text.
const accuracyImages = 256

// accuracy is this process's share, (), of the fraction of the step's images that find their text
// among those of all processes, by the normalised features (K, E): the shares add up to it. Of the
// images each process takes as many first ones. Of equally near texts the first counts. Only the
// features of these images travel, and the product with the nearest text of each process.
func accuracy(images, texts *torch.Tensor, g *distributed.Group) *torch.Tensor {
	processes := g.Size()
	n := max(1, min(images.Size(0), accuracyImages/processes))
	images = images.Narrow(0, 0, n)
	own := images.MatMul(texts.T()) // (n, K)
	right := own.Argmax(1).Eq(torch.ArangeLike(texts, n)).To(images.Device(), torch.Float32)
	if processes > 1 {
		from := g.Rank() * n
		nearest := g.AllGather(images).MatMul(texts.T()).MaxDim(1).Unsqueeze(0) // (1, processes * n)
		others := g.AllGather(nearest).Narrow(1, from, n)                       // (processes, n)
		mine := others.Select(0, g.Rank())
		right = right.Mul(others.MaxDim(0).Le(mine).To(images.Device(), torch.Float32))
		if g.Rank() > 0 {
			right = right.Mul(others.Narrow(0, 0, g.Rank()).MaxDim(0).Lt(mine).To(images.Device(), torch.Float32))
		}
	}
	return right.Mean().MulScalar(1 / float64(processes))
}
