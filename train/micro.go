package train

import (
	"fmt"
	"slices"
	"time"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train/data"
)

// micro is a micro-batch: one of the --accum-freq that make a step.
type micro struct {
	n      int
	wait   time.Duration // until the loader had it
	pixels *torch.Upload // (n, 3, H, W) float32
	tokens *torch.Tensor // (n, L) int64, on the host
	rng    []byte        // the device's generator before the towers ran for the first time

	texts   *tower.Texts  // the tokens as the text tower reads them; nil where it wants them as they are
	numbers *torch.Upload // of texts

	imageIDs, textIDs []int64 // (n)
}

// micro takes a batch out of the loader's memory, which the next batch overwrites, and sends it to the device.
func (r *run) micro(b *data.Batch) (m *micro, err error) {
	size := r.model.Config.Vision.ImageSize
	m = &micro{
		n: b.N, wait: b.Wait,
		tokens: torch.FromSlice(nil, b.Tokens, b.N, r.model.ContextLength()),

		imageIDs: slices.Clone(b.ImageIDs), textIDs: slices.Clone(b.TextIDs),
	}
	if m.pixels, err = torch.NewUpload(b.Pixels, r.device, b.N, 3, size.Height, size.Width); err != nil {
		return nil, fmt.Errorf("train: a batch of %d pictures: %w", b.N, err)
	}
	if m.texts = r.model.ArrangeTexts(b.Tokens, r.precision.computes(), r.room(b.N)); m.texts != nil {
		numbers := m.texts.Numbers()
		if m.numbers, err = torch.NewUpload(numbers, r.device, len(numbers)); err != nil {
			return nil, fmt.Errorf("train: a batch of %d texts: %w", b.N, err)
		}
	}
	return m, nil
}

func (m *micro) free() {
	m.pixels.Free()
	m.tokens.Free()
	if m.numbers != nil {
		m.numbers.Free()
	}
}

// onDevice is the micro-batch where the towers run, in the scope s. texts are what encodeText takes.
func (r *run) onDevice(s *torch.Scope, m *micro) (pixels, texts *torch.Tensor) {
	texts = m.tokens
	if m.texts != nil {
		texts = m.numbers.Tensor()
	}
	return s.Alias(m.pixels.Tensor()).To(r.device, r.precision.weights), s.Alias(texts)
}

// encodeImage maps pictures (n, 3, H, W) to normalised features (n, E).
func (r *run) encodeImage(pixels *torch.Tensor) *torch.Tensor {
	return r.model.EncodeImage(pixels).Normalize(1)
}

// encodeText maps the texts of a micro-batch, as onDevice gives them, to normalised features (n, E).
func (r *run) encodeText(m *micro) func(texts *torch.Tensor) *torch.Tensor {
	return func(texts *torch.Tensor) *torch.Tensor {
		if m.texts != nil {
			return r.model.EncodeArranged(m.texts, texts).Normalize(1)
		}
		return r.model.EncodeText(texts).Normalize(1)
	}
}
