package clip

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// Dim returns the length of a row of features.
func (m *Model) Dim() int { return m.Config.EmbedDim }

// EncodeImage maps normalised images (B, 3, H, W) to features (B, E), not normalised.
func (m *Model) EncodeImage(pixels *torch.Tensor) *torch.Tensor {
	size, shape := m.Config.Vision.PixelSize(), pixels.Shape()
	if len(shape) != 4 || !m.own && !slices.Equal(shape[1:], []int{3, size.Height, size.Width}) {
		refuse("encode_image", pixels, "%s takes pixels of the shape (B, 3, %d, %d); Model.Transform makes them of an image", m.Name, size.Height, size.Width)
	}
	return m.checked("encode_image", m.Visual, pixels, m.Visual.Forward(pixels))
}

// EncodeText maps tokens (B, T) int64 to features (B, E), not normalised. The tokens may be on the
// host whatever the model's device: that spares the towers that cut texts at their end a wait for
// the device.
func (m *Model) EncodeText(tokens *torch.Tensor) *torch.Tensor {
	shape, most := tokens.Shape(), m.ContextLength()
	if len(shape) != 2 || shape[0] < 1 || shape[1] < 1 || !m.own && shape[1] > most {
		refuse("encode_text", tokens, "%s takes tokens of the shape (B, T), B at least 1 and T at most %d; Model.Tokenize makes them of texts", m.Name, most)
	}
	if d := tokens.DType(); d != torch.Int64 && d != torch.Int32 {
		refuse("encode_text", tokens, "tokens are numbers of the type int64")
	}
	return m.checked("encode_text", m.Text, tokens, m.Text.Forward(tokens))
}

// checked is what a tower made of x, if its shape is (B, E): rows of another length would be cut in
// the wrong places.
func (m *Model) checked(op string, t Tower, x, features *torch.Tensor) *torch.Tensor {
	if features == nil {
		refuse(op, x, "the tower %T returned nil", t)
	}
	if want := []int{x.Size(0), m.Dim()}; !slices.Equal(features.Shape(), want) {
		refuse(op, x, "the tower %T returned features of the shape %v, not %v: a row of EmbedDim numbers for each input", t, features.Shape(), want)
	}
	return features
}

// refuse panics as an operator of x does.
func refuse(op string, x *torch.Tensor, format string, args ...any) {
	panic(&torch.Error{Op: op, Inputs: []string{x.Summary()}, Msg: fmt.Sprintf(format, args...)})
}

// ImageFeatures encodes n normalised images, (n, 3, H, W) in row-major order, into n
// L2-normalised rows (n, E). Callers take no turns; those of [Model.EncodeImages] do.
func (m *Model) ImageFeatures(pixels []float32, n int) ([]float32, error) {
	return m.imageFeatures(pixels, n, false)
}

// imageFeatures leaves out the normalisation if raw.
func (m *Model) imageFeatures(pixels []float32, n int, raw bool) ([]float32, error) {
	if n == 0 {
		return nil, nil
	}
	return m.features(graphShape{images: n}, raw, nil, func() (*torch.Upload, error) {
		return m.UploadImages(pixels, n)
	}, func(_ *tower.Texts, pixels *torch.Tensor) *torch.Tensor {
		return m.EncodeImage(pixels.To(m.Device(), m.dtype()))
	})
}

// TextFeatures encodes n texts of ContextLength tokens each, (n, L), into n L2-normalised rows (n,
// E). Callers take no turns; those of [Model.EncodeTexts] do.
func (m *Model) TextFeatures(tokens []int64, n int) ([]float32, error) {
	return m.textFeatures(tokens, n, false)
}

// textFeatures leaves out the normalisation if raw.
func (m *Model) textFeatures(tokens []int64, n int, raw bool) ([]float32, error) {
	if n == 0 {
		return nil, nil
	}
	if m.graphs != nil && !raw {
		if texts := m.ArrangeTexts(tokens, m.dtype(), max(16, 4*n)); texts != nil && texts.Packed() {
			numbers := texts.Numbers()
			return m.features(graphShape{texts: n, tokens: texts.Rows()}, raw, texts, func() (*torch.Upload, error) {
				return torch.NewUpload(numbers, m.Device(), len(numbers))
			}, m.EncodeArranged)
		}
	}
	return m.features(graphShape{}, raw, nil, func() (*torch.Upload, error) {
		return torch.NewUpload(tokens, torch.CPU, n, m.ContextLength())
	}, func(_ *tower.Texts, tokens *torch.Tensor) *torch.Tensor { return m.EncodeText(tokens) })
}

// features is the rows of what encode makes of a tower's input, normalised and by a graph unless
// they are raw or the shape is zero.
func (m *Model) features(at graphShape, raw bool, texts *tower.Texts, upload func() (*torch.Upload, error), encode func(texts *tower.Texts, x *torch.Tensor) *torch.Tensor) (rows []float32, err error) {
	if err := m.CheckWeights(); err != nil {
		return nil, err
	}
	input, err := upload()
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	defer input.Free()
	finished := func(texts *tower.Texts, x *torch.Tensor) *torch.Tensor {
		if x = encode(texts, x).To(m.Device(), torch.Float32); raw {
			return x
		}
		return x.Normalize(1)
	}
	failed := torch.NoGrad(func(s *torch.Scope) {
		x := s.Alias(input.Tensor())
		if x.DType() == torch.Uint8 {
			x = m.Uploaded(s, input)
		}
		if m.graphs != nil && !raw && at != (graphShape{}) {
			rows, err = m.graphs.rows(at, texts, x, finished)
			return
		}
		rows = torch.ToSlice[float32](finished(texts, x))
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	if err := m.CheckWeights(); err != nil { // first: numbers that are none come of it
		return nil, err
	}
	if err := m.finite(rows); err != nil {
		return nil, err
	}
	return rows, nil
}

// Tokenize returns the token ids of texts, (len(texts), L) with L the ContextLength. truncated tells
// for each whether it was cut at that length.
func (m *Model) Tokenize(ctx context.Context, texts ...string) (ids []int64, truncated []bool, err error) {
	t, err := m.Tokenizer(ctx)
	if err != nil {
		return nil, nil, err
	}
	ids, truncated = make([]int64, 0, len(texts)*m.ContextLength()), make([]bool, 0, len(texts))
	for _, text := range texts {
		row, cut := t.Tokenize(text, m.ContextLength())
		ids, truncated = append(ids, row...), append(truncated, cut)
	}
	return ids, truncated, nil
}

// Scale returns the factor of the cosines in a softmax: exp(LogitScale).
func (m *Model) Scale() (scale float64, err error) {
	err = torch.NoGrad(func(s *torch.Scope) { scale = math.Exp(s.Alias(m.LogitScale).Item()) })
	if err == nil {
		err = m.finite([]float32{float32(scale)})
	}
	return scale, err
}

// Device is where the parameters live.
func (m *Model) Device() torch.Device { return m.LogitScale.Device() }

// dtype is the type of the weights, the temperature aside.
func (m *Model) dtype() torch.DType {
	for _, p := range m.Parameters() {
		if p.Dim() > 1 {
			return p.DType()
		}
	}
	return torch.Float32
}

// ArrangeTexts prepares texts of ContextLength tokens each, on the host, for [Model.EncodeArranged]
// with products of the given type. It is nil where the text tower is no [tower.Arranger] or cannot:
// that needs [Model.EncodeText]. With room, which is for CUDA and half precision alone, tokens that
// nobody reads make the number of rows a multiple of it.
func (m *Model) ArrangeTexts(tokens []int64, products torch.DType, room int) *tower.Texts {
	if t, ok := m.Text.(tower.Arranger); ok {
		return t.Arrange(tokens, m.ContextLength(), products, room)
	}
	return nil
}

// EncodeArranged maps texts to features (n, E), not normalised. numbers are t's, int64 on the
// model's device.
func (m *Model) EncodeArranged(t *tower.Texts, numbers *torch.Tensor) *torch.Tensor {
	return m.Text.(tower.Arranger).ForwardArranged(t, numbers) // who else could have arranged them
}

// inTurn runs f when the callers that came before are through with the model. When ctx ends, its
// error is returned at once; f is then never begun, or ends with nobody waiting, so it must write
// to nothing that the caller uses after an error. A panic of f is the caller's.
func (m *Model) inTurn(ctx context.Context, f func() error) error {
	if err := begun(ctx); err != nil {
		return err
	}
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	type outcome struct {
		err    error
		thrown any
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			o.thrown = recover()
			<-m.turn
			done <- o
		}()
		o.err = f()
	}()
	select {
	case o := <-done:
		if o.thrown != nil {
			panic(o.thrown)
		}
		return o.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
