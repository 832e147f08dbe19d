package index

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// Model is the model that an index belongs to: how it is opened again, and what tells it from
// others.
type Model struct {
	Name          string `json:"name"` // as clip.Open takes it, such as ViT-B-32:openai or hf-hub:org/name; a path is absolute
	Pretrained    string `json:"pretrained,omitempty"`
	Seed          uint64 `json:"seed,omitempty"`
	ImageSize     int    `json:"image_size,omitempty"`
	ContextLength int    `json:"context_length,omitempty"`
	QuickGELU     bool   `json:"quick_gelu,omitempty"`
	ImageTower    string `json:"image_tower,omitempty"`
	TextTower     string `json:"text_tower,omitempty"`

	// Orient says that the images of the index were turned upright by the orientation in their EXIF
	// data. It belongs to the index: Identify leaves it false.
	Orient bool `json:"orient,omitempty"`

	// Half says that the index keeps its vectors in half precision. It belongs to the index, too.
	Half bool `json:"half,omitempty"`

	EmbedDim  int    `json:"embed_dim"`
	Weights   string `json:"weights"`         // SHA-256 of the files of weights, or of the weights if there is no file
	Transform string `json:"transform"`       // SHA-256 of the config and the preprocessing
	Files     []Sum  `json:"files,omitempty"` // those of Weights; none for weights inside a program
}

// Sum is the SHA-256 of a file as it was when it was read. As long as size and time are the same it
// is not read again.
type Sum struct {
	Path    string    `json:"path"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"modified"`
	SHA256  string    `json:"sha256"`
}

// Options are those with which clip.Open opens the model again.
func (m Model) Options() *clip.OpenOptions {
	return &clip.OpenOptions{Pretrained: m.Pretrained, Seed: m.Seed, ImageSize: m.ImageSize, ContextLength: m.ContextLength,
		QuickGELU: m.QuickGELU, ImageTower: m.ImageTower, TextTower: m.TextTower}
}

// encode is the model as the database has it.
func (m Model) encode() string {
	text, _ := json.Marshal(m) // strings and numbers: it cannot fail
	return string(text)
}

// Identify tells what an opened model is, whose weights have not changed since. known are sums that
// may save reading the weights, those of an index; nil for none.
func Identify(m *clip.Model, known []Sum) (Model, error) {
	o := &m.Options
	id := Model{Name: absolute(m.Name), Pretrained: absolute(o.Pretrained), Seed: o.Seed, ImageSize: o.ImageSize, ContextLength: o.ContextLength,
		QuickGELU: o.QuickGELU, ImageTower: absolute(o.ImageTower), TextTower: absolute(o.TextTower), EmbedDim: m.Config.EmbedDim}
	config, err := json.Marshal([]any{m.Config, m.Preprocess})
	if err != nil {
		return id, fmt.Errorf("index: %s: %w", m.Name, err)
	}
	id.Transform = sum(config)
	var paths []string
	if m.Weights != "" {
		f, err := checkpoint.Open(m.Weights)
		if err != nil {
			return id, err
		}
		paths = f.Paths()
		if err := f.Close(); err != nil {
			return id, err
		}
	}
	for _, tower := range []string{o.ImageTower, o.TextTower} {
		if tower != "" {
			paths = append(paths, tower)
		}
	}
	all := sha256.New()
	if m.Weights == "" {
		s := m.StateSum // of the weights before they were converted
		if s == "" {
			if s, err = sumInside(m); err != nil {
				return id, fmt.Errorf("index: %w", err)
			}
		}
		io.WriteString(all, s)
	}
	for _, path := range paths {
		s, err := sumFile(path, known)
		if err != nil {
			return id, fmt.Errorf("index: %w", err)
		}
		id.Files = append(id.Files, s)
		io.WriteString(all, s.SHA256)
	}
	id.Weights = hex.EncodeToString(all.Sum(nil))
	return id, nil
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// absolute is a name that stands for a file or directory as a path from the root, and any other as
// it is.
func absolute(name string) string {
	if _, err := os.Stat(name); name == "" || err != nil {
		return name
	}
	if path, err := filepath.Abs(name); err == nil {
		return path
	}
	return name
}

func sumFile(path string, known []Sum) (s Sum, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	s = Sum{Path: absolute(path), Size: info.Size(), ModTime: info.ModTime().UTC()}
	if s.SHA256 = find(s, known); s.SHA256 != "" {
		return s, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return s, err
	}
	s.SHA256 = hex.EncodeToString(h.Sum(nil))
	return s, nil
}

// sumInside is the sum of weights that no file holds: those inside a program, random ones, and what
// a program has made.
func sumInside(m *clip.Model) (string, error) {
	h := sha256.New()
	err := torch.NoGrad(func(scope *torch.Scope) {
		for key, p := range m.State() {
			io.WriteString(h, key)
			h.Write(torch.ToBytes(scope.Alias(p).To(torch.CPU, p.DType())))
		}
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

func find(s Sum, known []Sum) string {
	for _, k := range known {
		if k.Path == s.Path && k.Size == s.Size && k.ModTime.Equal(s.ModTime) {
			return k.SHA256
		}
	}
	return ""
}

// Same says, in a sentence that a user can act on, why vectors of the model other do not belong
// into an index of m; nil if they do.
func (m Model) Same(other Model) error {
	what := m.Differs(other)
	if what == "" {
		return nil
	}
	return fmt.Errorf("%w %s: %s; search with that model, or rebuild the index", ErrModel, m.Name, what)
}

// Differs says what tells the model other from m; "" where their vectors may be compared.
func (m Model) Differs(other Model) string {
	switch {
	case m.EmbedDim != other.EmbedDim:
		return fmt.Sprintf("its features have %d numbers, those of %s %d", m.EmbedDim, other.Name, other.EmbedDim)
	case m.Weights != other.Weights:
		return fmt.Sprintf("its weights are %.12s, those of %s %.12s", m.Weights, other.Name, other.Weights)
	case m.Transform != other.Transform:
		return fmt.Sprintf("the config or the preprocessing of %s is another", other.Name)
	}
	return ""
}

// ErrModel is inside the error for vectors of another model than the index has.
var ErrModel = errors.New("the index was made with the model")
