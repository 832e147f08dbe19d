package clip

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// hfWeightsFile is transformers' name of a model's weights.
const hfWeightsFile = "model.safetensors"

func (m *Model) saveHuggingFace(fsys disk.FS, dir string, dtype torch.DType) error {
	if m.own {
		return marked{fmt.Errorf("clip: %s has towers of a program's own, which transformers does not have", m.Name), ErrUnsupported}
	}
	config, err := m.Config.HuggingFace(dtype.String())
	if err != nil {
		return marked{err, ErrUnsupported}
	}
	pictures, err := m.Preprocess.HuggingFace()
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	files := map[string][]byte{}
	if m.tokenizer == nil && m.Config.Text.HFTokenizerName == "" {
		if files, err = tokenizer.HuggingFaceFiles(m.ContextLength()); err != nil {
			return fmt.Errorf("clip: %w", err)
		}
	}
	if err := disk.MkdirAll(fsys, dir); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	entries, err := m.huggingFaceEntries(dtype)
	if err != nil {
		return err
	}
	if err := checkpoint.WriteFS(fsys, filepath.Join(dir, hfWeightsFile), entries, map[string]string{"format": "pt"}); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	if err := m.saveTokenizer(fsys, dir); err != nil {
		return err
	}
	files[hfPreprocessFile] = append(pictures, '\n')
	for name, data := range files {
		if err := writeFile(fsys, dir, name, data); err != nil {
			return err
		}
	}
	return writeFile(fsys, dir, hfConfigFile, append(config, '\n'))
}

// huggingFaceEntries parts the weights into transformers' tensors.
func (m *Model) huggingFaceEntries(dtype torch.DType) ([]checkpoint.Entry, error) {
	var all []checkpoint.Entry
	at := map[string]int{} // of a tensor that several weights make up
	for key, p := range m.State() {
		if IsLoRA(key) {
			continue // the weights have it
		}
		s := huggingFaceKeys(key)
		var e checkpoint.Entry
		var err error
		if s.transposed {
			failed := torch.NoGrad(func(scope *torch.Scope) { e, err = checkpoint.FromTensor(key, scope.Alias(p).T(), dtype) })
			err = errors.Join(failed, err)
		} else {
			e, err = m.entry(key, p, dtype)
		}
		if err != nil {
			return nil, fmt.Errorf("clip: %s: %w", key, err)
		}
		if key == "visual.trunk.pos_embed" || s.reshaped { // transformers' is a table
			e.Shape = []int{product(e.Shape[:len(e.Shape)-1]), e.Shape[len(e.Shape)-1]}
		}
		if m.Config.InitLogitBias != nil && len(e.Shape) == 0 {
			e.Shape = []int{1} // SiglipModel's
		}
		for i, r := range s.rows {
			part := e
			if n := len(s.rows); n > 1 {
				rows := e.Shape[0] / n
				part = e.Rows(i*rows, (i+1)*rows)
			}
			part.Name = r.name
			if j, started := at[r.name]; started { // the next rows of a packed tensor: State has them in its order
				all[j].Data = slices.Concat(all[j].Data, part.Data)
				all[j].Shape[0] += part.Shape[0]
				continue
			}
			at[r.name] = len(all)
			part.Shape = slices.Clone(part.Shape)
			all = append(all, part)
		}
	}
	return all, nil
}
