package clip

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
	"github.com/goclip/goclip/torch/nn"
)

// Tower maps normalised pixels (B, 3, H, W), or tokens (B, T) int64, to features (B, E). Package tower has
// CLIP's own, and the small interfaces by which a tower offers more than Forward.
type Tower = tower.Tower

// Model is a CLIP: two towers and a temperature.
type Model struct {
	Text       Tower         `torch:"text"`
	LogitScale *torch.Tensor `torch:"logit_scale"` // () or (1), the logarithm of the inverse temperature
	LogitBias  *torch.Tensor `torch:"logit_bias"`  // of the same shape; nil without init_logit_bias
	Visual     Tower         `torch:"visual"`

	Decoder *tower.Decoder `torch:"text_decoder"` // of a CoCa; else nil

	Name       string            `torch:"-"` // what Open was asked for
	Options    OpenOptions       `torch:"-"` // and how: Open(ctx, Name, &Options) opens it again
	Weights    string            `torch:"-"` // the file that they were read from; "" for random ones
	StateSum   string            `torch:"-"` // SHA-256 of the weights as OpenFS read them, where the directory says it
	Config     *tower.Config     `torch:"-"`
	Preprocess preprocess.Config `torch:"-"`

	tokenizing     chan struct{}      // held while a published tag's tokenizer is looked for
	tokenizer      tokenizer.Encoder  // nil: CLIP's own, or none
	tokenizerFiles map[string][]byte  // its files, for Save
	spelling       tokenizer.Spelling // of CLIP's own tokenizer

	fetch *pretrained.Options // of a published tag, by which its tokenizer is found too

	turn      chan struct{} // held by the caller that runs the model, inTurn
	transform atomic.Pointer[builtTransform]

	graphs  *graphs       // nil without UseGraphs
	packing torch.Packing // the last that a tower was prepared with; 0: none

	trained bool               // all weights were read
	lent    []*checkpoint.Lent // the files that weights are still in, without OpenOptions.Copy

	own bool // NewModel made it: no config describes its towers

	lora map[*torch.Tensor]*nn.LoRA // of the weights that AddLoRA adapts; nil before
}

// MaxLogitScale is ln 100: training keeps LogitScale in [0, ln 100] (paper, section 2.5).
var MaxLogitScale = math.Log(100)

// ModelConfig says what [NewModel] cannot see in two towers.
type ModelConfig struct {
	Name          string             // for messages
	EmbedDim      int                // length of a row of features, of both towers
	ImageSize     int                // pixels of the square images that the image tower takes
	ContextLength int                // tokens of a text; 0 is 77
	Tokenizer     tokenizer.Encoder  // nil is CLIP's own, with 49,408 tokens
	Preprocess    *preprocess.Config // nil is OpenAI's, at ImageSize
	LogitScale    *float64           // logarithm of the inverse temperature to begin with; nil is ln(1/0.07)
	LogitBias     *float64           // not nil: the loss is SigLIP's, with a bias that begins here
}

// NewModel makes a model of two towers of one's own, with the weights that they have: image maps (B, 3, H, W), text maps
// tokens (B, T) int64, both to (B, EmbedDim). A tower's parameters are the exported fields that [nn.Params] finds; what
// it can do beyond Forward it offers by the interfaces of package tower. [Model.Save] writes such a model, and
// [Model.Load] reads it back into one of the same towers.
func NewModel(image, text Tower, c ModelConfig) (*Model, error) {
	switch {
	case isNil(image) || isNil(text):
		return nil, errors.New("clip: NewModel needs an image tower and a text tower")
	case c.EmbedDim < 1:
		return nil, fmt.Errorf("clip: EmbedDim %d: it must be the length of the towers' features", c.EmbedDim)
	case c.ImageSize < 1:
		return nil, fmt.Errorf("clip: ImageSize %d: it must be the side of the image tower's images, in pixels", c.ImageSize)
	case c.ContextLength < 0 || c.ContextLength == 1:
		return nil, fmt.Errorf("clip: ContextLength %d: it must be at least 2, for the start and end tokens, or 0 for 77", c.ContextLength)
	case c.ContextLength > maxContextLength:
		return nil, fmt.Errorf("clip: ContextLength %d: it must be at most %d", c.ContextLength, maxContextLength)
	}
	tokens := c.Tokenizer
	if tokens == nil {
		tokens = tokenizer.New()
	}
	scale := math.Log(1 / 0.07)
	if c.LogitScale != nil {
		scale = *c.LogitScale
	}
	config := &tower.Config{EmbedDim: c.EmbedDim, CustomText: true, InitLogitScale: &scale, InitLogitBias: c.LogitBias,
		Vision: tower.VisionConfig{ImageSize: tower.Square(c.ImageSize)},
		Text:   tower.TextConfig{ContextLength: cmp.Or(c.ContextLength, 77), VocabSize: tokens.VocabSize()}}
	m := assemble(image, text, config)
	m.Name, m.own, m.tokenizer = cmp.Or(c.Name, "own model"), true, tokens
	if c.Preprocess != nil {
		m.Preprocess = *c.Preprocess
	}
	if _, err := m.Transform(); err != nil {
		return nil, err
	}
	if c.Preprocess != nil {
		if m.Preprocess.Size != [2]int{c.ImageSize, c.ImageSize} {
			return nil, fmt.Errorf("clip: Preprocess makes images of %v pixels, and ImageSize is %d", m.Preprocess.Size, c.ImageSize)
		}
	}
	numbers := 0
	err := torch.NoGrad(func(s *torch.Scope) {
		m.initializeScale(s)
		numbers = m.NumParameters() // panics where a field has no tag
	})
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	if numbers < 2 {
		return nil, errors.New("clip: the towers have no parameters: they are found in exported fields with a `torch` tag")
	}
	return m, nil
}

// maxContextLength bounds ModelConfig's: beyond it a number is a slip.
const maxContextLength = 1 << 20

// isNil tells a nil pointer in a Tower too.
func isNil(t Tower) bool {
	v := reflect.ValueOf(t)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

func allocate(c *tower.Config) *Model { return assemble(tower.Image(c), tower.TextOf(c), c) }

func assemble(image, text Tower, c *tower.Config) *Model {
	size := c.Vision.PixelSize()
	m := &Model{Text: text, Visual: image, Decoder: tower.NewDecoder(c), Config: c, Preprocess: preprocess.DefaultConfig(size.Height), spelling: tokenizer.OpenCLIP,
		turn: make(chan struct{}, 1), tokenizing: make(chan struct{}, 1)}
	if c.Vision.IsNaFlex() {
		m.Preprocess = preprocess.PatchesConfig(c.Vision.PatchSize, 1)
	}
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

// Parameters yields every parameter with its state-dict key, which is open_clip's and, where OpenAI has the model,
// OpenAI's.
func (m *Model) Parameters() iter.Seq2[string, *torch.Tensor] { return m.keys(nn.Params(m)) }

// State is [Model.Parameters] with the buffers, the running statistics of a ResNet: what a checkpoint holds.
func (m *Model) State() iter.Seq2[string, *torch.Tensor] { return m.keys(nn.State(m)) }

// keys takes the text tower's prefix away where OpenAI's layout has none.
func (m *Model) keys(tensors iter.Seq2[string, *torch.Tensor]) iter.Seq2[string, *torch.Tensor] {
	if !m.Config.Flat() {
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

// SetTraining switches what differs in training: patch dropout, batch statistics, a RoBERTa's dropout. It
// begins off.
func (m *Model) SetTraining(on bool) {
	for _, t := range []Tower{m.Visual, m.Text} {
		if t, ok := t.(tower.Mode); ok {
			t.SetTraining(on)
		}
	}
}

// Loss returns the training loss of B images (B, 3, H, W) and their B texts (B, T): [loss.Sigmoid] for a config
// with init_logit_bias, which is SigLIP's, else [loss.Contrastive].
func (m *Model) Loss(pixels, tokens *torch.Tensor) *torch.Tensor {
	images := m.EncodeImage(pixels).Normalize(1) // (B, E)
	texts := m.EncodeText(tokens).Normalize(1)
	scale := images.Borrow(m.LogitScale).Exp()
	if m.LogitBias != nil {
		return loss.Sigmoid(images, texts, scale, m.LogitBias)
	}
	return loss.Contrastive(images, texts, scale)
}

// ContextLength returns the number of tokens of a text, the start and end tokens included.
func (m *Model) ContextLength() int { return m.Config.Text.ContextLength }

// Transform returns the evaluation transform of the model's images.
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

// builtTransform is kept because a transform keeps memory for the images that follow.
type builtTransform struct {
	of        preprocess.Config
	transform *preprocess.Transform
}

// SetPatchDropout replaces the config's fraction of patches that training leaves out, in [0, 1).
func (m *Model) SetPatchDropout(fraction float64) error {
	t, ok := m.Visual.(tower.PatchDropper)
	if ok {
		t.SetPatchDropout(fraction)
		ok = t.PatchDropout() == fraction
	}
	if !ok && fraction > 0 {
		return fmt.Errorf("clip: %s has a %s for an image tower, which has no patches to leave out", m.Name, towerName(m.Visual))
	}
	return nil
}

// towerName is a tower's type for a message: "ResNet".
func towerName(t Tower) string {
	name := fmt.Sprintf("%T", t)
	return name[strings.LastIndexByte(name, '.')+1:]
}
