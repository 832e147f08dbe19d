package clip

import (
	"fmt"
	"math"

	"github.com/goclip/goclip/torch"
)

// ImageFeatures encodes n normalised pictures, (n, 3, H, W) in row-major order, into n L2-normalised rows (n, E).
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
func (m *Model) TextFeatures(tokens []int64, n int) ([]float32, error) {
	if n == 0 {
		return nil, nil
	}
	return m.features(func(s *torch.Scope) *torch.Tensor {
		return m.EncodeText(torch.FromSlice(s, tokens, n, m.ContextLength()).To(m.Device(), torch.Int64))
	})
}

func (m *Model) features(encode func(s *torch.Scope) *torch.Tensor) (rows []float32, err error) {
	err = torch.NoGrad(func(s *torch.Scope) {
		rows = torch.ToSlice[float32](encode(s).Normalize(1).To(torch.CPU, torch.Float32))
	})
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	return rows, nil
}

// Texts tokenizes texts and encodes them into L2-normalised rows (len(texts), E). truncated tells for each whether it
// was cut at the context length.
func (m *Model) Texts(texts []string) (rows []float32, truncated []bool, err error) {
	t, err := m.Tokenizer()
	if err != nil {
		return nil, nil, err
	}
	ids := make([]int64, 0, len(texts)*m.ContextLength())
	for _, text := range texts {
		row, cut := t.Tokenize(text, m.ContextLength())
		ids, truncated = append(ids, row...), append(truncated, cut)
	}
	rows, err = m.TextFeatures(ids, len(texts))
	return rows, truncated, err
}

// Pictures reads, transforms and encodes picture files into L2-normalised rows (len(paths), E). A file that cannot be
// read is an error that names it.
func (m *Model) Pictures(paths ...string) ([]float32, error) {
	transform, err := m.Transform()
	if err != nil {
		return nil, err
	}
	pixels := make([]float32, len(paths)*transform.Len())
	for i, path := range paths {
		if err := transform.File(pixels[i*transform.Len():(i+1)*transform.Len()], path); err != nil {
			return nil, err
		}
	}
	return m.ImageFeatures(pixels, len(paths))
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
