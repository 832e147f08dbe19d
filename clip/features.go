package clip

import (
	"fmt"
	"math"

	"github.com/goclip/goclip/torch"
)

// ImageFeatures encodes n normalised pictures, (n, 3, H, W) in row-major order, into n L2-normalised rows (n, E).
// Callers take no turns; those of [Model.EncodeImages] do.
func (m *Model) ImageFeatures(pixels []float32, n int) ([]float32, error) {
	if n == 0 {
		return nil, nil
	}
	size := m.Config.Vision.ImageSize
	return m.features(func(s *torch.Scope) *torch.Tensor {
		return m.EncodeImage(torch.FromSlice(s, pixels, n, 3, size.Height, size.Width).To(m.Device(), m.dtype()))
	})
}

// TextFeatures encodes n texts of ContextLength tokens each, (n, L), into n L2-normalised rows (n, E).
// Callers take no turns; those of [Model.EncodeTexts] do.
func (m *Model) TextFeatures(tokens []int64, n int) ([]float32, error) {
	if n == 0 {
		return nil, nil
	}
	return m.features(func(s *torch.Scope) *torch.Tensor {
		return m.EncodeText(torch.FromSlice(s, tokens, n, m.ContextLength()))
	})
}

func (m *Model) features(encode func(s *torch.Scope) *torch.Tensor) (rows []float32, err error) {
	err = torch.NoGrad(func(s *torch.Scope) {
		rows = torch.ToSlice[float32](encode(s).To(m.Device(), torch.Float32).Normalize(1).To(torch.CPU, torch.Float32))
	})
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	return rows, nil
}

// Tokenize gives the token ids of texts, (len(texts), L) with L the ContextLength. truncated tells for each whether it
// was cut at that length.
func (m *Model) Tokenize(texts ...string) (ids []int64, truncated []bool, err error) {
	t, err := m.Tokenizer()
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

// Scale is the factor of the cosines in a softmax: exp(LogitScale).
func (m *Model) Scale() (scale float64, err error) {
	err = torch.NoGrad(func(s *torch.Scope) { scale = math.Exp(s.Alias(m.LogitScale).Item()) })
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
