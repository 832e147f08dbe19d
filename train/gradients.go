package train

import (
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train/data"
)

// micro is a micro-batch: one of the --accum-freq that make a step.
type micro struct {
	n              int
	pixels, tokens *torch.Tensor // (n, 3, H, W) float32 and (n, L) int64, on the host
	rng            []byte        // the device's generator before the towers ran for the first time

	imageIDs, textIDs []int64 // (n)
}

// micro takes a batch out of the loader's memory, which the next batch overwrites.
func (r *run) micro(b *data.Batch) *micro {
	size := r.model.Config.Vision.ImageSize
	return &micro{
		n:      b.N,
		pixels: torch.FromSlice(nil, b.Pixels, b.N, 3, size.Height, size.Width),
		tokens: torch.FromSlice(nil, b.Tokens, b.N, r.model.ContextLength()),

		imageIDs: slices.Clone(b.ImageIDs), textIDs: slices.Clone(b.TextIDs),
	}
}

func (m *micro) free() {
	m.pixels.Free()
	m.tokens.Free()
}

// onDevice is the micro-batch where the towers run, in the scope s.
func (r *run) onDevice(s *torch.Scope, m *micro) (pixels, tokens *torch.Tensor) {
	return s.Alias(m.pixels).To(r.device, r.precision.weights), s.Alias(m.tokens).To(r.device, torch.Int64)
}

// encodeImage maps pictures (n, 3, H, W) to normalised features (n, E).
func (r *run) encodeImage(pixels *torch.Tensor) *torch.Tensor {
	return r.model.EncodeImage(pixels).Normalize(1)
}

// encodeText maps tokens (n, L) to normalised features (n, E).
func (r *run) encodeText(tokens *torch.Tensor) *torch.Tensor {
	return r.model.EncodeText(tokens).Normalize(1)
}

// gradients adds to every parameter the gradient of the loss of all the micro-batches as one batch, times the scaler's
// factor, and returns the loss.
func (r *run) gradients(s *torch.Scope, micros []*micro) (loss *torch.Tensor) {
	if len(micros) > 1 {
		return r.cachedGradients(s, micros)
	}
	pixels, tokens := r.onDevice(s, micros[0])
	images, texts := torch.Tidy(r.encodeImage, pixels), torch.Tidy(r.encodeText, tokens)
	g := r.loss(s, images, texts, micros)
	r.lastBackward()
	backward(images, g.Images)
	backward(texts, g.Texts)
	r.temperature(s, g)
	return g.Loss
}

// cachedGradients is the gradient cache (Gao et al., arXiv 2101.06983): all micro-batches are embedded without gradients,
// the loss gives the gradient of every feature, and each micro-batch runs once more, with the noise of its first time, to
// bring that to the weights. By the chain rule the sum is the whole batch's gradient, the temperature's too, which
// open_clip's --accum-freq counts once for each micro-batch.
func (r *run) cachedGradients(s *torch.Scope, micros []*micro) (loss *torch.Tensor) {
	var images, texts []*torch.Tensor
	for _, m := range micros {
		m.rng = torch.RNGState(r.device)
		s.NoGrad(func(s *torch.Scope) {
			pixels, tokens := r.onDevice(s, m)
			images = append(images, torch.Tidy(r.encodeImage, pixels).Keep())
			texts = append(texts, torch.Tidy(r.encodeText, tokens).Keep())
		})
	}
	g := r.loss(s, cat(s, images), cat(s, texts), micros)
	first := 0
	for i, m := range micros {
		if i == len(micros)-1 {
			r.lastBackward()
		}
		if err := torch.SetRNGState(r.device, m.rng); err != nil {
			panic(err)
		}
		pixels, tokens := r.onDevice(s, m)
		replay := func(encode func(*torch.Tensor) *torch.Tensor, gradient, x *torch.Tensor) {
			torch.Tidy(func(x *torch.Tensor) *torch.Tensor {
				backward(encode(x), gradient.Narrow(0, first, m.n))
				return x
			}, x)
		}
		replay(r.encodeImage, g.Images, pixels)
		replay(r.encodeText, g.Texts, tokens)
		pixels.Free()
		tokens.Free()
		first += m.n
	}
	r.temperature(s, g)
	return g.Loss
}

// loss is this process's share of the loss of all processes' normalised features (n, E), with the gradients of its own, times
// the scaler's factor.
func (r *run) loss(s *torch.Scope, images, texts *torch.Tensor, micros []*micro) clip.LossGradient {
	r.lookAt(images, texts)
	p := clip.Pairs{Images: images.Detach(), Texts: texts.Detach(), Scale: images.Borrow(r.model.LogitScale).Detach().Exp().Reshape()}
	if r.matchIDs {
		p.ImageIDs, p.TextIDs = ids(images, micros)
	}
	r.teach(s, &p, micros)
	var others clip.Gatherer
	if r.group.Size() > 1 {
		others = r.group
	}
	var g clip.LossGradient
	if bias := r.model.LogitBias; bias != nil {
		p.Bias = images.Borrow(bias).Detach().Reshape()
		g = clip.TiledSigmoid(p, others, 0)
		g.Bias = r.scaled(g.Bias)
	} else {
		g = clip.TiledContrastive(p, others, 0)
	}
	g.Images, g.Texts, g.Scale = r.scaled(g.Images), r.scaled(g.Texts), r.scaled(g.Scale)
	return g
}

// ids are the numbers of the micro-batches' pictures and captions, by which equal ones are known.
func ids(like *torch.Tensor, micros []*micro) (images, texts *torch.Tensor) {
	var i, t []int64
	for _, m := range micros {
		i, t = append(i, m.imageIDs...), append(t, m.textIDs...)
	}
	return torch.ArangeLike(like, len(i)).CopyFrom(torch.FromSlice(nil, i, len(i))), torch.ArangeLike(like, len(t)).CopyFrom(torch.FromSlice(nil, t, len(t)))
}

// temperature brings the gradients of the logits' factor and bias to their parameters.
func (r *run) temperature(s *torch.Scope, g clip.LossGradient) {
	scale := s.Alias(r.model.LogitScale).Exp()
	backward(scale, g.Scale.Reshape(scale.Shape()...))
	if bias := r.model.LogitBias; bias != nil {
		backward(s.Alias(bias), g.Bias.Reshape(bias.Shape()...))
	}
}

// lastBackward says that the gradients of what follows are complete: they may travel.
func (r *run) lastBackward() {
	if err := r.reducer.Prepare(); err != nil {
		panic(&torch.Error{Op: "backward", Msg: err.Error()})
	}
}

// backward brings the gradient of t to the weights; a locked tower has none that learn.
func backward(t, gradient *torch.Tensor) {
	if t.RequiresGrad() {
		t.BackwardFrom(gradient.To(t.Device(), t.DType()))
	}
}

// cat joins features that no scope owns, and frees them.
func cat(s *torch.Scope, parts []*torch.Tensor) *torch.Tensor {
	aliases := make([]*torch.Tensor, len(parts))
	for i, p := range parts {
		aliases[i] = s.Alias(p)
		defer p.Free()
	}
	return torch.Cat(0, aliases...)
}
