package clip

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// SaveOptions say how a model is written. The zero value is float32 in open_clip's layout.
type SaveOptions struct {
	DType       torch.DType // of the numbers: Float32 (zero), or Float16 to ship
	HuggingFace bool        // as transformers' CLIPModel, MetaClip2Model or SiglipModel opens it, in place of open_clip
	FS          disk.FS     // the file layer; nil is the machine's, and only goclip's own packages have others
}

// Save writes the model as a directory in open_clip's layout: [Model.SaveAs] with the defaults.
func (m *Model) Save(dir string) error { return m.SaveAs(dir, nil) }

// SaveAs writes the model as a directory; a nil o means the defaults. Each file appears whole or not at all, the config
// last. transformers has no ResNet, no RoBERTa and not every variation of the towers: such a model is refused before
// anything is written, and the error matches [ErrUnsupported].
func (m *Model) SaveAs(dir string, o *SaveOptions) error {
	if o == nil {
		o = &SaveOptions{}
	}
	fsys, dtype := o.FS, o.DType
	if fsys == nil {
		fsys = disk.Machine{}
	}
	if dtype == 0 {
		dtype = torch.Float32
	}
	if err := m.CheckWeights(); err != nil {
		return err
	}
	if err := m.checkDType(dtype); err != nil {
		return err
	}
	if o.HuggingFace {
		return m.saveHuggingFace(fsys, dir, dtype)
	}
	if err := disk.MkdirAll(fsys, dir); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	var entries []checkpoint.Entry
	for key, p := range m.State() {
		if IsLoRA(key) {
			continue // the weights have it
		}
		as := dtype
		if p.DType() == torch.Int64 {
			as = torch.Int64 // a count
		}
		if !m.Adapted(p) {
			entries = append(entries, checkpoint.Of(key, p, as))
			continue
		}
		e, err := m.entry(key, p, as)
		if err != nil {
			return fmt.Errorf("clip: %s: %w", key, err)
		}
		entries = append(entries, e)
	}
	if err := m.saveTokenizer(fsys, dir); err != nil {
		return err
	}
	metadata := map[string]string{"format": "pt", "quick_gelu": fmt.Sprint(m.Config.QuickGELU)}
	if err := checkpoint.WriteFS(fsys, filepath.Join(dir, WeightsFile), entries, metadata); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	if err := m.CheckWeights(); err != nil { // what was written has no meaning, and no config
		return err
	}
	text, err := json.MarshalIndent(modelFile{m.Config, &m.Preprocess, m.own, m.spelling == tokenizer.OpenAI && m.Config.Text.HFTokenizerName == ""}, "", "  ")
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return writeFile(fsys, dir, ConfigFile, append(text, '\n'))
}

// checkDType refuses a type of numbers that the weights cannot be written in.
func (m *Model) checkDType(dtype torch.DType) error {
	switch dtype {
	case torch.Float32, torch.Float64, torch.BFloat16:
		return nil
	case torch.Float16:
	default:
		return fmt.Errorf("clip: weights are not written in %s: DType must be Float32 or Float16", dtype)
	}
	var fault error
	err := torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.State() { // a ResNet's variances too
			if p.DType() == torch.Int64 || p.Numel() == 0 {
				continue
			}
			s.NoGrad(func(s *torch.Scope) {
				finite := func(t *torch.Tensor) bool { return t.IsFinite().All().Item() == 1 }
				if w := s.Alias(p); fault == nil && !finite(w.To(p.Device(), torch.Float16)) && finite(w) {
					fault = fmt.Errorf("clip: %s has numbers beyond 65,504, which float16 cannot hold: write float32", key)
				}
			})
		}
	})
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return fault
}

// modelFile is what open_clip_config.json holds.
type modelFile struct {
	Model      *tower.Config      `json:"model_cfg"`
	Preprocess *preprocess.Config `json:"preprocess_cfg"`
	Own        bool               `json:"own_towers,omitempty"`            // of a program: no config describes them
	OpenAI     bool               `json:"openai_special_tokens,omitempty"` // texts have <|endoftext|>, not open_clip's <end_of_text>
}

// writeFile writes one file of a model directory, whole or not at all.
func writeFile(fsys disk.FS, dir, name string, data []byte) error {
	err := disk.WriteFile(fsys, filepath.Join(dir, name), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return nil
}
