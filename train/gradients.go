package train

import (
	"fmt"

	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
)

// gradients adds to every parameter the gradient of the loss of all the micro-batches as one batch,
// times the scaler's factor, and returns the loss and what [accuracy] says, both ().
func (t *stepper) gradients(s *torch.Scope, micros []*micro) (loss, accuracy *torch.Tensor) {
	if len(micros) > 1 {
		return t.cachedGradients(s, micros)
	}
	pixels, texts := t.onDevice(s, micros[0])
	return t.directGradients(s, micros[0], pixels, texts)
}

// directGradients is the gradients of one micro-batch, whose images and texts are on the device.
func (t *stepper) directGradients(s *torch.Scope, m *micro, pixels, texts *torch.Tensor) (loss, accuracy *torch.Tensor) {
	images, captions := torch.Tidy(t.encodeImage, pixels), torch.Tidy(t.encodeText(m), texts)
	g, accuracy := t.loss(s, images, captions, []*micro{m})
	t.lastBackward()
	s.DropCasts()
	backward(images, g.Images)
	backward(captions, g.Texts)
	t.temperature(s, g)
	return g.Loss, accuracy
}

// onDevice is the micro-batch where the towers run, in the scope s. texts are what encodeText
// takes.
func (t *stepper) onDevice(s *torch.Scope, m *micro) (pixels, texts *torch.Tensor) {
	texts = m.tokens
	if m.texts != nil {
		texts = m.numbers.Tensor()
	}
	return t.model.Uploaded(s, m.pixels).To(t.device, t.precision.weights), s.Alias(texts)
}

// encodeImage maps images (n, 3, H, W) to normalised features (n, E).
func (t *stepper) encodeImage(pixels *torch.Tensor) *torch.Tensor {
	return t.model.EncodeImage(pixels).Normalize(1)
}

// encodeText maps the texts of a micro-batch, as onDevice gives them, to normalised features (n,
// E).
func (t *stepper) encodeText(m *micro) func(texts *torch.Tensor) *torch.Tensor {
	return func(texts *torch.Tensor) *torch.Tensor {
		if m.texts != nil {
			return t.model.EncodeArranged(m.texts, texts).Normalize(1)
		}
		return t.model.EncodeText(texts).Normalize(1)
	}
}

// cachedGradients is the gradient cache (Gao et al., arXiv 2101.06983): all micro-batches are
// embedded without gradients, the loss gives the gradient of every feature, and each micro-batch
// runs once more, with the noise of its first time, to bring that to the weights. By the chain rule
// the sum is the whole batch's gradient, the temperature's too, which open_clip's accumulation
// counts once for each micro-batch.
func (t *stepper) cachedGradients(s *torch.Scope, micros []*micro) (loss, accuracy *torch.Tensor) {
	var images, texts []*torch.Tensor
	for _, m := range micros {
		m.rng = torch.RNGState(t.device)
		s.NoGrad(func(s *torch.Scope) {
			pixels, captions := t.onDevice(s, m)
			images = append(images, torch.Tidy(t.encodeImage, pixels).Keep())
			texts = append(texts, torch.Tidy(t.encodeText(m), captions).Keep())
		})
	}
	g, accuracy := t.loss(s, cat(s, images), cat(s, texts), micros)
	first := 0
	for i, m := range micros {
		if i == len(micros)-1 {
			t.lastBackward()
		}
		if err := torch.SetRNGState(t.device, m.rng); err != nil {
			panic(err)
		}
		pixels, captions := t.onDevice(s, m)
		replay := func(encode func(*torch.Tensor) *torch.Tensor, gradient, x *torch.Tensor) {
			torch.Tidy(func(x *torch.Tensor) *torch.Tensor {
				backward(encode(x), gradient.Narrow(0, first, m.n))
				return x
			}, x)
		}
		replay(t.encodeImage, g.Images, pixels)
		replay(t.encodeText(m), g.Texts, captions)
		pixels.Free()
		captions.Free()
		first += m.n
	}
	t.temperature(s, g)
	return g.Loss, accuracy
}

// loss is this process's fraction of the loss of all processes' normalised features (n, E), with the
// gradients of its own, times the scaler's factor, and the accuracy.
func (t *stepper) loss(s *torch.Scope, images, texts *torch.Tensor, micros []*micro) (g loss.Gradient, right *torch.Tensor) {
	right = torch.Tidy(func(texts *torch.Tensor) *torch.Tensor { return accuracy(images.Detach(), texts, t.group) }, texts.Detach())
	if t.lossOf != nil {
		return t.ownLoss(s, images, texts), right
	}
	p := loss.Pairs{Images: images.Detach(), Texts: texts.Detach(), Scale: images.Borrow(t.model.LogitScale).Detach().Exp().Reshape()}
	if t.matchIDs {
		p.ImageIDs, p.TextIDs = ids(images, micros)
	}
	t.teach(s, &p, micros)
	var others loss.Gatherer
	if t.group.Size() > 1 {
		others = t.group
	}
	if bias := t.model.LogitBias; bias != nil {
		p.Bias = images.Borrow(bias).Detach().Reshape()
		g = loss.TiledSigmoid(p, others, 0)
		g.Bias = t.scaled(g.Bias)
	} else {
		g = loss.TiledContrastive(p, others, 0)
	}
	g.Images, g.Texts, g.Scale = t.scaled(g.Images), t.scaled(g.Texts), t.scaled(g.Scale)
	return g, right
}

// checkLoss says of a caller's loss what autograd would not say in its terms.
func checkLoss(whole *torch.Tensor) {
	refuse := func(format string, args ...any) {
		panic(&torch.Error{Op: "Config.Loss", Msg: fmt.Sprintf(format, args...)})
	}
	switch {
	case whole == nil:
		refuse("it returned nil; it must return a scalar")
	case whole.Numel() != 1:
		refuse("it returned a tensor of the shape %v; it must return a scalar, such as its Mean", whole.Shape())
	case !whole.RequiresGrad():
		refuse("no gradient leads from what it returned back to the images, the texts or a parameter")
	}
}

// ownLoss is [stepper.loss] of the caller's [Loss]. Every process computes the whole of it, so each
// counts by 1 / processes; of the features' gradients it keeps its own rows. Those of the
// parameters in the loss, the temperature's, are there when it returns: the sum over the processes
// makes them whole.
func (t *stepper) ownLoss(s *torch.Scope, images, texts *torch.Tensor) loss.Gradient {
	k, processes := images.Size(0), t.group.Size()
	zeros := func(shape ...int) *torch.Tensor { return torch.Zeros(s, t.device, torch.Float32, shape...) }
	out := loss.Gradient{Loss: zeros(), Images: zeros(images.Shape()...), Texts: zeros(texts.Shape()...)}
	if err := torch.Do(func(s *torch.Scope) { // without the autocast of the towers
		leaf := func(own *torch.Tensor) *torch.Tensor { // (N, E) float32
			all := s.Alias(own).Detach().To(t.device, torch.Float32)
			if processes > 1 {
				all = t.group.AllGather(all)
			}
			return all.Detach().SetRequiresGrad(true)
		}
		inputs := []*torch.Tensor{leaf(images), leaf(texts)}
		whole := t.lossOf(t.model, inputs[0], inputs[1])
		checkLoss(whole)
		for _, p := range t.model.Parameters() {
			if p.RequiresGrad() {
				inputs = append(inputs, s.Alias(p))
			}
		}
		gradients := torch.Gradients(whole, inputs...)
		for i, own := range []*torch.Tensor{out.Images, out.Texts} {
			if g := gradients[i]; g != nil { // nil: the loss does not look at them
				s.Alias(own).CopyFrom(t.scaled(g.Narrow(0, t.group.Rank()*k, k)))
			}
		}
		for i, p := range inputs[2:] {
			if g := gradients[2+i]; g != nil {
				backward(p, g.MulScalar(t.factor()/float64(processes)))
			}
		}
		s.Alias(out.Loss).CopyFrom(whole.Detach().MulScalar(1 / float64(processes)).Reshape())
	}); err != nil {
		panic(err) // an operator's *torch.Error, on its way to the Do around the features
	}
	return out
}

// ids are the numbers of the micro-batches' images and captions, by which equal ones are known.
func ids(like *torch.Tensor, micros []*micro) (images, texts *torch.Tensor) {
	var i, t []int64
	for _, m := range micros {
		i, t = append(i, m.imageIDs...), append(t, m.textIDs...)
	}
	return torch.FromSliceLike(like, i, len(i)), torch.FromSliceLike(like, t, len(t))
}

// teach gives the loss the teacher's features of the micro-batches.
func (t *stepper) teach(s *torch.Scope, p *loss.Pairs, micros []*micro) {
	if t.teacher == nil {
		return
	}
	var images, texts []*torch.Tensor
	for _, m := range micros {
		s.NoGrad(func(s *torch.Scope) {
			pixels, _ := t.onDevice(s, m)
			images = append(images, torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return t.teacher.EncodeImage(x).Normalize(1) }, pixels).Keep())
			texts = append(texts, torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return t.teacher.EncodeText(x).Normalize(1) }, s.Alias(m.tokens)).Keep())
		})
	}
	p.Teacher = &loss.Teacher{Images: cat(s, images), Texts: cat(s, texts), Scale: s.Alias(t.teacher.LogitScale).Exp().Detach().Reshape()}
}

// temperature brings the gradients of the logits' factor and bias to their parameters. A loss of
// the caller's brings its own.
func (t *stepper) temperature(s *torch.Scope, g loss.Gradient) {
	if g.Scale == nil {
		return
	}
	scale := s.Alias(t.model.LogitScale).Exp()
	backward(scale, g.Scale.Reshape(scale.Shape()...))
	if bias := t.model.LogitBias; bias != nil {
		backward(s.Alias(bias), g.Bias.Reshape(bias.Shape()...))
	}
}

// lastBackward says that the gradients of what follows are complete: they may travel.
func (t *stepper) lastBackward() {
	if err := t.reducer.Prepare(); err != nil {
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
