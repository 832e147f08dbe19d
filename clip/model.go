package clip

import (
	"fmt"
	"iter"
	"math"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// Model is a CLIP: two towers and a temperature.
type Model struct {
	Text       *Text         `torch:""`
	LogitScale *torch.Tensor `torch:"logit_scale"` // (), the logarithm of the inverse temperature
	Visual     *Vision       `torch:"visual"`

	Name       string            `torch:"-"` // what Open was asked for
	Config     *Config           `torch:"-"`
	Preprocess preprocess.Config `torch:"-"`
}

// MaxLogitScale is ln 100: training keeps LogitScale in [0, ln 100] (paper, section 2.5).
var MaxLogitScale = math.Log(100)

func allocate(c *Config) *Model {
	return &Model{Text: newText(c), LogitScale: nn.Parameter(), Visual: newVision(c), Config: c,
		Preprocess: preprocess.DefaultConfig(c.Vision.ImageSize)}
}

// Parameters yields every parameter with its state-dict key, which is OpenAI's and open_clip's.
func (m *Model) Parameters() iter.Seq2[string, *torch.Tensor] { return nn.Params(m) }

// NumParameters counts the weights.
func (m *Model) NumParameters() int {
	n := 0
	for _, p := range m.Parameters() {
		n += p.Numel()
	}
	return n
}

// SetTraining switches patch dropout on or off; a new model has it off.
func (m *Model) SetTraining(on bool) { m.Visual.training = on }

// EncodeImage maps normalised pictures (B, 3, R, R) to features (B, E), not normalised.
func (m *Model) EncodeImage(pixels *torch.Tensor) *torch.Tensor { return m.Visual.Forward(pixels) }

// EncodeText maps tokens (B, T) int64 to features (B, E), not normalised.
func (m *Model) EncodeText(tokens *torch.Tensor) *torch.Tensor { return m.Text.Forward(tokens) }

// Loss is the symmetric cross-entropy of the B x B similarities: the match of picture i is text i.
func (m *Model) Loss(pixels, tokens *torch.Tensor) *torch.Tensor {
	images := m.EncodeImage(pixels).Normalize(1) // (B, E)
	texts := m.EncodeText(tokens).Normalize(1)
	return ContrastiveLoss(images, texts, images.Borrow(m.LogitScale).Exp())
}

// ContrastiveLoss is the mean of the cross-entropies over pictures and over texts of scale * images @ texts^T
// (paper, figure 3), for normalised features (B, E).
func ContrastiveLoss(images, texts, scale *torch.Tensor) *torch.Tensor {
	logits := images.MatMul(texts.T()).Mul(scale) // (B, B)
	match := torch.ArangeLike(logits, logits.Size(0))
	return logits.CrossEntropy(match).Add(logits.T().CrossEntropy(match)).MulScalar(0.5)
}

// Tokenizer is the model's tokenizer.
func (m *Model) Tokenizer() *tokenizer.Tokenizer { return tokenizer.New() }

// ContextLength is the number of tokens of a text, the start and end tokens included.
func (m *Model) ContextLength() int { return m.Config.Text.ContextLength }

// Transform is the evaluation transform of the model's pictures.
func (m *Model) Transform() (*preprocess.Transform, error) {
	t, err := preprocess.NewTransform(m.Preprocess)
	if err != nil {
		return nil, fmt.Errorf("clip: %s: %w", m.Name, err)
	}
	return t, nil
}

// SetPatchDropout replaces the config's share of patches that training leaves out, in [0, 1).
func (m *Model) SetPatchDropout(share float64) { m.Visual.dropout = share }
