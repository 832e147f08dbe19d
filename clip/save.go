package clip

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// Save writes the model as a directory in open_clip's layout, its numbers as dtype (torch.Float32, or torch.Float16 to
// ship). Each file appears whole or not at all, the config last.
func (m *Model) Save(dir string, dtype torch.DType) error {
	return m.SaveFS(disk.Machine{}, dir, dtype)
}

// SaveFS is [Model.Save] to a file layer.
func (m *Model) SaveFS(fsys disk.FS, dir string, dtype torch.DType) error {
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
	text, err := json.MarshalIndent(struct {
		Model      *tower.Config      `json:"model_cfg"`
		Preprocess *preprocess.Config `json:"preprocess_cfg"`
	}{m.Config, &m.Preprocess}, "", "  ")
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return writeFile(fsys, dir, ConfigFile, append(text, '\n'))
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
