package train

import (
	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/torch"
)

// gradients adds to every parameter the gradient of the loss of all the micro-batches as one batch, times the scaler's
// factor, and returns the loss and what [run.accuracy] says, both ().
func (r *run) gradients(s *torch.Scope, micros []*micro) (loss, accuracy *torch.Tensor) {
	if len(micros) > 1 {
		return r.cachedGradients(s, micros)
	}
	pixels, texts := r.onDevice(s, micros[0])
	return r.directGradients(s, micros[0], pixels, texts)
}

// directGradients is the gradients of one micro-batch, whose pictures and texts are on the device.
func (r *run) directGradients(s *torch.Scope, m *micro, pixels, texts *torch.Tensor) (loss, accuracy *torch.Tensor) {
	images, captions := torch.Tidy(r.encodeImage, pixels), torch.Tidy(r.encodeText(m), texts)
	g, accuracy := r.loss(s, images, captions, []*micro{m})
	r.lastBackward()
	backward(images, g.Images)
	backward(captions, g.Texts)
	r.temperature(s, g)
	return g.Loss, accuracy
}

// cachedGradients is the gradient cache (Gao et al., arXiv 2101.06983): all micro-batches are embedded without gradients,
// the loss gives the gradient of every feature, and each micro-batch runs once more, with the noise of its first time, to
// bring that to the weights. By the chain rule the sum is the whole batch's gradient, the temperature's too, which
// open_clip's --accum-freq counts once for each micro-batch.
func (r *run) cachedGradients(s *torch.Scope, micros []*micro) (loss, accuracy *torch.Tensor) {
	var images, texts []*torch.Tensor
	for _, m := range micros {
		m.rng = torch.RNGState(r.device)
		s.NoGrad(func(s *torch.Scope) {
			pixels, captions := r.onDevice(s, m)
			images = append(images, torch.Tidy(r.encodeImage, pixels).Keep())
			texts = append(texts, torch.Tidy(r.encodeText(m), captions).Keep())
		})
	}
	g, accuracy := r.loss(s, cat(s, images), cat(s, texts), micros)
	first := 0
	for i, m := range micros {
		if i == len(micros)-1 {
			r.lastBackward()
		}
		if err := torch.SetRNGState(r.device, m.rng); err != nil {
			panic(err)
		}
		pixels, captions := r.onDevice(s, m)
		replay := func(encode func(*torch.Tensor) *torch.Tensor, gradient, x *torch.Tensor) {
			torch.Tidy(func(x *torch.Tensor) *torch.Tensor {
				backward(encode(x), gradient.Narrow(0, first, m.n))
				return x
			}, x)
		}
		replay(r.encodeImage, g.Images, pixels)
		replay(r.encodeText(m), g.Texts, captions)
		pixels.Free()
		captions.Free()
		first += m.n
	}
	r.temperature(s, g)
	return g.Loss, accuracy
}

// loss is this process's share of the loss of all processes' normalised features (n, E), with the gradients of its own, times
// the scaler's factor, and the accuracy.
func (r *run) loss(s *torch.Scope, images, texts *torch.Tensor, micros []*micro) (g loss.Gradient, accuracy *torch.Tensor) {
	accuracy = torch.Tidy(func(texts *torch.Tensor) *torch.Tensor { return r.accuracy(images.Detach(), texts) }, texts.Detach())
	p := loss.Pairs{Images: images.Detach(), Texts: texts.Detach(), Scale: images.Borrow(r.model.LogitScale).Detach().Exp().Reshape()}
	if r.matchIDs {
		p.ImageIDs, p.TextIDs = ids(images, micros)
	}
	r.teach(s, &p, micros)
	var others loss.Gatherer
	if r.group.Size() > 1 {
		others = r.group
	}
	if bias := r.model.LogitBias; bias != nil {
		p.Bias = images.Borrow(bias).Detach().Reshape()
		g = loss.TiledSigmoid(p, others, 0)
		g.Bias = r.scaled(g.Bias)
	} else {
		g = loss.TiledContrastive(p, others, 0)
	}
	g.Images, g.Texts, g.Scale = r.scaled(g.Images), r.scaled(g.Texts), r.scaled(g.Scale)
	return g, accuracy
}

// ids are the numbers of the micro-batches' pictures and captions, by which equal ones are known.
func ids(like *torch.Tensor, micros []*micro) (images, texts *torch.Tensor) {
	var i, t []int64
	for _, m := range micros {
		i, t = append(i, m.imageIDs...), append(t, m.textIDs...)
	}
	return torch.FromSliceLike(like, i, len(i)), torch.FromSliceLike(like, t, len(t))
}

// temperature brings the gradients of the logits' factor and bias to their parameters.
func (r *run) temperature(s *torch.Scope, g loss.Gradient) {
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
