package clip

import (
	"fmt"
	"iter"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// ImageTower maps normalised pictures (B, 3, H, W) to features (B, E): a [Vision], a [ResNet] or a [TimmViT].
type ImageTower interface {
	Forward(pixels *torch.Tensor) *torch.Tensor
	SetTraining(on bool)

	initializeBiases(s *torch.Scope)
	initialize(s *torch.Scope)
	setPatchDropout(share float64) bool // false for a tower without patches
	groups() []group                    // from the bottom to the top
	lock(unlockedGroups int, freezeBNStats bool)
	setGradCheckpointing(on bool)
}

// TextTower maps tokens (B, T) int64 to features (B, E): a [Text] or a [Roberta].
type TextTower interface {
	Forward(tokens *torch.Tensor) *torch.Tensor
	SetTraining(on bool)

	initializeBiases(s *torch.Scope)
	initialize(s *torch.Scope)
	groups() []group // from the bottom to the top
	lock(unlockedLayers int, freezeLayerNorm bool)
	setGradCheckpointing(on bool)
}

// Model is a CLIP: two towers and a temperature.
type Model struct {
	Text       TextTower     `torch:"text"`
	LogitScale *torch.Tensor `torch:"logit_scale"` // () or (1), the logarithm of the inverse temperature
	LogitBias  *torch.Tensor `torch:"logit_bias"`  // of the same shape; nil without init_logit_bias
	Visual     ImageTower    `torch:"visual"`

	Name       string            `torch:"-"` // what Open was asked for
	Weights    string            `torch:"-"` // the file that they were read from; "" for random ones
	Config     *Config           `torch:"-"`
	Preprocess preprocess.Config `torch:"-"`

	tokenizing     sync.Mutex        // held while a published tag's tokenizer is looked for
	tokenizer      tokenizer.Encoder // nil: CLIP's own, or none
	tokenizerFiles map[string][]byte // its files, for Save

	fetch *pretrained.Options // of a published tag, by which its tokenizer is found too

	turn      chan struct{} // held by the caller that runs the model, inTurn
	transform atomic.Pointer[builtTransform]

	graphs *graphs // nil without UseGraphs

	lora map[*torch.Tensor]*nn.LoRA // of the weights that AddLoRA adapts; nil before
}

// MaxLogitScale is ln 100: training keeps LogitScale in [0, ln 100] (paper, section 2.5).
var MaxLogitScale = math.Log(100)

func allocate(c *Config) *Model {
	size := c.Vision.ImageSize
	m := &Model{Text: newTextTower(c), Visual: newImageTower(c), Config: c, Preprocess: preprocess.DefaultConfig(size.Height),
		turn: make(chan struct{}, 1)}
	m.Preprocess.Size = [2]int{size.Height, size.Width}
	var shape []int
	if c.NonscalarLogitScale {
		shape = []int{1}
	}
	m.LogitScale = nn.Parameter(shape...)
	if c.InitLogitBias != nil {
		m.LogitBias = nn.Parameter(shape...)
	}
	return m
}

func newImageTower(c *Config) ImageTower {
	switch {
	case c.Vision.TimmModelName != "":
		return newTimmViT(c)
	case c.Vision.IsResNet():
		return newResNet(c)
	default:
		return newVision(c)
	}
}

func newTextTower(c *Config) TextTower {
	if c.Text.HFModelName != "" {
		return newRoberta(c)
	}
	return newText(c)
}

// Parameters yields every parameter with its state-dict key, which is open_clip's and, where OpenAI has the model,
// OpenAI's.
func (m *Model) Parameters() iter.Seq2[string, *torch.Tensor] { return m.keys(nn.Params(m)) }

// State is [Model.Parameters] with the buffers, the running statistics of a ResNet: what a checkpoint holds.
func (m *Model) State() iter.Seq2[string, *torch.Tensor] { return m.keys(nn.State(m)) }

// keys takes the text tower's prefix away where OpenAI's layout has none.
func (m *Model) keys(tensors iter.Seq2[string, *torch.Tensor]) iter.Seq2[string, *torch.Tensor] {
	if !m.Config.flat() {
		return tensors
	}
	return func(yield func(string, *torch.Tensor) bool) {
		for key, t := range tensors {
			if !yield(strings.TrimPrefix(key, "text."), t) {
				return
			}
		}
	}
}

// NumParameters counts the weights.
func (m *Model) NumParameters() int {
	n := 0
	for _, p := range m.Parameters() {
		n += p.Numel()
	}
	return n
}

// SetTraining switches what differs in training: patch dropout, batch statistics, a RoBERTa's dropout. It begins off.
func (m *Model) SetTraining(on bool) {
	m.Visual.SetTraining(on)
	m.Text.SetTraining(on)
}

// EncodeImage maps normalised pictures (B, 3, H, W) to features (B, E), not normalised.
func (m *Model) EncodeImage(pixels *torch.Tensor) *torch.Tensor { return m.Visual.Forward(pixels) }

// EncodeText maps tokens (B, T) int64 to features (B, E), not normalised. The tokens may be on the host whatever the model's device:
// that spares the towers that cut texts at their end a wait for the device.
func (m *Model) EncodeText(tokens *torch.Tensor) *torch.Tensor { return m.Text.Forward(tokens) }

// ContextLength is the number of tokens of a text, the start and end tokens included.
func (m *Model) ContextLength() int { return m.Config.Text.ContextLength }

// Transform is the evaluation transform of the model's pictures.
func (m *Model) Transform() (*preprocess.Transform, error) {
	if built := m.transform.Load(); built != nil && built.of == m.Preprocess {
		return built.transform, nil
	}
	t, err := preprocess.NewTransform(m.Preprocess)
	if err != nil {
		return nil, fmt.Errorf("clip: %s: %w", m.Name, err)
	}
	m.transform.Store(&builtTransform{m.Preprocess, t})
	return t, nil
}

// builtTransform is kept because a transform keeps memory for the pictures that follow.
type builtTransform struct {
	of        preprocess.Config
	transform *preprocess.Transform
}

// SetPatchDropout replaces the config's share of patches that training leaves out, in [0, 1).
func (m *Model) SetPatchDropout(share float64) error {
	if !m.Visual.setPatchDropout(share) && share > 0 {
		return fmt.Errorf("clip: %s is a ResNet: it has no patches to leave out", m.Name)
	}
	return nil
}
