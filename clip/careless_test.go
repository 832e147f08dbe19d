package clip

import (
	"context"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// TestWrongShapes: an operator deep inside would name none of what the caller gave, or compute features of a part of it.
func TestWrongShapes(t *testing.T) {
	m := shippedModel(t)
	for _, shape := range [][]int{{1, 3, 224, 224}, {1, 3, 65, 65}, {1, 1, 64, 64}, {1, 64, 64, 3}, {3, 64, 64}, {}} {
		err := torch.NoGrad(func(s *torch.Scope) { m.EncodeImage(torch.Zeros(s, torch.CPU, torch.Float32, shape...)) })
		assert.ErrorContains(t, err, "takes pixels of the shape (B, 3, 64, 64); Model.Transform makes them of an image", "%v", shape)
	}
	for _, shape := range [][]int{{2, 33}, {2, 0}, {0, 32}, {32}, {1, 2, 32}} {
		err := torch.NoGrad(func(s *torch.Scope) { m.EncodeText(torch.Zeros(s, torch.CPU, torch.Int64, shape...)) })
		assert.ErrorContains(t, err, "takes tokens of the shape (B, T), B at least 1 and T at most 32; Model.Tokenize", "%v", shape)
	}
	err := torch.NoGrad(func(s *torch.Scope) { m.EncodeText(torch.Zeros(s, torch.CPU, torch.Float32, 2, 32)) })
	assert.ErrorContains(t, err, "tokens are numbers of the type int64")
}

type returning struct {
	Words *nn.Weight `torch:"words"`
	f     func(x *torch.Tensor) *torch.Tensor
}

func (r *returning) Forward(x *torch.Tensor) *torch.Tensor { return r.f(x) }

type untagged struct{ Proj *nn.Linear }

func (u *untagged) Forward(x *torch.Tensor) *torch.Tensor { return u.Proj.Forward(x) }

// TestOwnTowersOfWrongWidth: rows of twice the length are not twice the rows.
func TestOwnTowersOfWrongWidth(t *testing.T) {
	config := ModelConfig{EmbedDim: 8, ImageSize: 16}
	for want, f := range map[string]func(x *torch.Tensor) *torch.Tensor{
		"returned features of the shape [1 16], not [1 8]": func(x *torch.Tensor) *torch.Tensor { return torch.OnesLike(x.Select(0, 0), 1, 16) },
		"returned features of the shape [1 4], not [1 8]":  func(x *torch.Tensor) *torch.Tensor { return torch.OnesLike(x.Select(0, 0), 1, 4) },
		"returned features of the shape [8], not [1 8]":    func(x *torch.Tensor) *torch.Tensor { return torch.OnesLike(x.Select(0, 0), 8) },
		"the tower *clip.returning returned nil":           func(*torch.Tensor) *torch.Tensor { return nil },
	} {
		tower := &returning{&nn.Weight{Weight: nn.Parameter(3, 8)}, f}
		m, err := NewModel(tower, tower, config)
		require.NoError(t, err)
		_, err = m.EncodeTexts(t.Context(), "a")
		assert.ErrorContains(t, err, want)
		_, err = m.EncodeImages(t.Context(), FromFile(imagePath("face.png")))
		assert.ErrorContains(t, err, want)
	}
	good := &returning{Words: &nn.Weight{Weight: nn.Parameter(3, 8)}}
	_, err := NewModel((*returning)(nil), good, config)
	assert.ErrorContains(t, err, "needs an image tower and a text tower")
	_, err = NewModel(&untagged{}, good, config)
	assert.ErrorContains(t, err, "field clip.untagged.Proj has no `torch` tag")
	_, err = NewModel(good, good, ModelConfig{EmbedDim: 8, ImageSize: 1 << 40})
	assert.ErrorContains(t, err, "is not between 1 and 16384")
	_, err = NewModel(good, good, ModelConfig{EmbedDim: 8, ImageSize: 16, ContextLength: 1 << 40})
	assert.ErrorContains(t, err, "ContextLength 1099511627776: it must be at most")
}

func TestOpenFSRefusals(t *testing.T) {
	ctx := t.Context()
	_, err := OpenFS(ctx, nil, "x", nil)
	assert.EqualError(t, err, "clip: OpenFS needs a file system, such as models.FS()")
	_, err = OpenFS(ctx, fstest.MapFS{}, "x", nil)
	assert.ErrorIs(t, err, ErrNotFound)
	_, err = OpenFS(ctx, models.FS(), "/emoji-64/", nil)
	assert.ErrorContains(t, err, `"/emoji-64/" is not a name in an fs.FS`)
	for _, o := range []OpenOptions{{Pretrained: "openai"}, {ImageTower: "x.pt"}, {TextTower: "x.pt"}} {
		_, err = OpenFS(ctx, models.FS(), models.Default, &o)
		assert.ErrorContains(t, err, "drop Pretrained, ImageTower and TextTower, or call Open")
	}
}

func TestClassifyRefusals(t *testing.T) {
	m, image := shippedModel(t), FromFile(imagePath("face.png"))
	_, err := m.Classify(t.Context(), nil, 1, image)
	assert.EqualError(t, err, "clip: the Classifier is nil: Model.Classifier makes one")
	_, err = m.Classify(t.Context(), &Classifier{}, 1, image)
	assert.ErrorContains(t, err, "it needs a row for each name")
	_, err = m.Classify(t.Context(), &Classifier{Names: []string{"a", "b"}, Weights: [][]float32{make([]float32, 128)}}, 1, image)
	assert.ErrorContains(t, err, "2 names and 1 rows of weights")
}

// TestNoContext: in a goroutine that decodes, a nil context would end the process.
func TestNoContext(t *testing.T) {
	var none context.Context
	m, image := shippedModel(t), FromFile(imagePath("face.png"))
	for name, f := range map[string]func() error{
		"Open":         func() error { _, err := Open(none, "ViT-B-32", nil); return err },
		"OpenFS":       func() error { _, err := OpenFS(none, models.FS(), models.Default, nil); return err },
		"EncodeImages": func() error { _, err := m.EncodeImages(none, image); return err },
		"EncodeTexts":  func() error { _, err := m.EncodeTexts(none, "a"); return err },
		"Score":        func() error { _, err := m.Score(none, []ImageSource{image}, []string{"a"}); return err },
		"Classifier":   func() error { _, err := m.Classifier(none, []string{"a"}); return err },
		"Classify":     func() error { _, err := m.Classify(none, &Classifier{}, 1, image); return err },
		"EncodeImageSeq": func() (last error) {
			for _, last = range m.EncodeImageSeq(none, slices.Values([]ImageSource{image})) {
			}
			return last
		},
	} {
		assert.EqualError(t, f(), "clip: the context is nil: context.Background() is one that never ends", name)
	}
}

// TestBrokenSequences: a sequence is read in a goroutine, and its panic is nevertheless its caller's.
func TestBrokenSequences(t *testing.T) {
	m := shippedModel(t)
	for _, err := range m.EncodeImageSeq(t.Context(), nil) {
		assert.EqualError(t, err, "clip: the sequence of images is nil")
	}
	for _, err := range m.EncodeTextSeq(t.Context(), nil) {
		assert.EqualError(t, err, "clip: the sequence of texts is nil")
	}
	assert.PanicsWithValue(t, "no more film", func() {
		for range m.EncodeImageSeq(t.Context(), func(yield func(ImageSource) bool) { panic("no more film") }) {
		}
	})
	_, err := m.EncodeImages(t.Context(), FromFile(imagePath("face.png")))
	assert.NoError(t, err)
}

func TestEncoderRefusals(t *testing.T) {
	for want, e := range map[string]Encoder{
		"clip: the Encoder has no Model":                                               {},
		"clip: BatchSize -1: must be between 0, for the default, and 65536":            {Model: shippedModel(t), BatchSize: -1},
		"clip: BatchSize 1099511627776: must be between 0, for the default, and 65536": {Model: shippedModel(t), BatchSize: 1 << 40},
	} {
		for _, err := range e.Images(t.Context(), slices.Values([]ImageSource{FromFile("a.png")})) {
			assert.EqualError(t, err, want)
		}
		for _, err := range e.Texts(t.Context(), slices.Values([]string{"a"})) {
			assert.EqualError(t, err, want)
		}
	}
	assert.PanicsWithValue(t, "clip: Cosine of rows of 1 and 2 numbers", func() { Cosine([]float32{1}, []float32{1, 2}) })
}
