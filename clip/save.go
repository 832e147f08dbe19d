package clip

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// Save writes the model as a directory in open_clip's layout, its numbers as dtype (torch.Float32, or torch.Float16 to
// ship). Each file appears whole or not at all, the config last.
func (m *Model) Save(dir string, dtype torch.DType) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
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
		e, err := m.entry(key, p, as)
		if err != nil {
			return fmt.Errorf("clip: %s: %w", key, err)
		}
		entries = append(entries, e)
	}
	if err := m.saveTokenizer(dir); err != nil {
		return err
	}
	metadata := map[string]string{"format": "pt", "quick_gelu": fmt.Sprint(m.Config.QuickGELU)}
	if err := checkpoint.Write(filepath.Join(dir, WeightsFile), entries, metadata); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	model, err := json.Marshal(m.Config)
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	text, err := json.MarshalIndent(directoryConfig{Model: model, Preprocess: &m.Preprocess}, "", "  ")
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return writeFile(dir, ConfigFile, append(text, '\n'))
}

// writeFile writes one file of a model directory, whole or not at all.
func writeFile(dir, name string, data []byte) error {
	err := checkpoint.WriteFile(filepath.Join(dir, name), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return nil
}
