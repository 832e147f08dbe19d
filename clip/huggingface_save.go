package clip

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// hfWeightsFile is transformers' name of a model's weights.
const hfWeightsFile = "model.safetensors"

// SaveHuggingFace writes the model as a directory that transformers' CLIPModel, MetaClip2Model or SiglipModel opens,
// its numbers as dtype. It fails, before it writes, with a model of which transformers has none: a ResNet, a RoBERTa, a
// variation of the towers. Each file appears whole or not at all, the config last.
func (m *Model) SaveHuggingFace(dir string, dtype torch.DType) error {
	config, err := m.Config.huggingFace()
	if err != nil {
		return err
	}
	config.DType = dtype.String()
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
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	entries, err := m.huggingFaceEntries(dtype)
	if err != nil {
		return err
	}
	if err := checkpoint.Write(filepath.Join(dir, hfWeightsFile), entries, map[string]string{"format": "pt"}); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	if err := m.saveTokenizer(disk.Machine{}, dir); err != nil {
		return err
	}
	files[hfPreprocessFile] = append(pictures, '\n')
	for name, data := range files {
		if err := writeFile(disk.Machine{}, dir, name, data); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return writeFile(disk.Machine{}, dir, hfConfigFile, append(text, '\n'))
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
		if key == "visual.trunk.pos_embed" {
			e.Shape = e.Shape[1:] // transformers' is a table
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

// huggingFace is the config.json of the same model, or an error that names what transformers does not have.
func (c *Config) huggingFace() (*hfConfig, error) {
	v, t := c.Vision, c.Text
	p := &problems{}
	has := func(ok bool, what string) {
		if !ok {
			p.errs = append(p.errs, fmt.Errorf("clip: transformers has no CLIP with %s", what))
		}
	}
	siglip := v.TimmPool == "map"
	has(!v.IsResNet(), "a ResNet as its picture tower")
	has(v.TimmModelName == "" || siglip && v.TimmProj == "none", "the picture tower "+v.TimmModelName+" and a projection")
	has(t.HFModelName == "", "the text tower "+t.HFModelName)
	has(!v.NoLnPre && !v.AttentionalPool && slices.Contains([]string{"", "tok"}, v.PoolType) && v.LSInitValue == nil, "no_ln_pre, attentional_pool, ls_init_value or another pool_type in its picture tower")
	has(!t.EmbedCls && t.LSInitValue == nil && t.ProjType != "none", "embed_cls, ls_init_value or proj_type none in its text tower")
	has(v.ImageSize.Height == v.ImageSize.Width, fmt.Sprintf("pictures of %v pixels", v.ImageSize))
	ofSiglip := t.NoCausalMask && t.ProjBias && t.PoolType == "last" && c.InitLogitBias != nil
	ofCLIP := !t.NoCausalMask && !t.ProjBias && slices.Contains([]string{"", "argmax", "eos"}, t.PoolType) && c.InitLogitBias == nil
	has(siglip && ofSiglip || !siglip && ofCLIP, "these variations of the text tower or a logit bias beside this picture tower")
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	activation := func(o *ActOptions, tanh bool) string {
		switch {
		case c.QuickGELU && !siglip:
			return "quick_gelu"
		case o != nil && o.Approximate == "tanh", o == nil && tanh:
			return "gelu_pytorch_tanh"
		}
		return "gelu"
	}
	eps := func(o *NormOptions) float64 {
		if o == nil {
			return 1e-5
		}
		return o.Eps
	}
	number := func(n int) json.RawMessage { return json.RawMessage(fmt.Sprint(n)) }
	h := &hfConfig{ModelType: "clip", Architectures: []string{"CLIPModel"}, ProjectionDim: c.EmbedDim, LogitScale: *c.InitLogitScale}
	text := hfText{ModelType: "clip_text_model", VocabSize: t.VocabSize, HiddenSize: t.Width, IntermediateSize: int(float64(t.Width) * t.MLPRatio), ProjectionDim: c.EmbedDim,
		Layers: t.Layers, Heads: t.Heads, Positions: t.ContextLength, Activation: activation(t.ActOptions, false), Eps: eps(t.NormOptions)}
	vision := hfVision{ModelType: "clip_vision_model", HiddenSize: v.Width, IntermediateSize: int(float64(v.Width) * v.MLPRatio), ProjectionDim: c.EmbedDim,
		Layers: v.Depth(), Heads: v.Width / v.HeadWidth, Channels: 3, ImageSize: v.ImageSize, PatchSize: Square(v.PatchSize),
		Activation: activation(v.ActOptions, timmModels[v.TimmModelName].tanh), Eps: eps(v.NormOptions)}
	switch {
	case siglip:
		h.ModelType, h.Architectures, h.ProjectionDim, h.LogitScale = "siglip", []string{"SiglipModel"}, 0, 0
		text.ModelType, vision.ModelType, vision.Eps = "siglip_text_model", "siglip_vision_model", 1e-6
		text.ProjectionSize, text.ProjectionDim, vision.ProjectionDim = c.EmbedDim, 0, 0
		text.End, text.Pad = number(1), number(1)
	case t.PoolType == "eos":
		end := 2
		if t.EOSID != nil {
			end = *t.EOSID
		}
		if text.End = number(end); end == 2 { // which a CLIPModel takes for the largest id
			h.ModelType, h.Architectures = "metaclip_2", []string{"MetaClip2Model"}
			text.ModelType, vision.ModelType = "metaclip_2_text_model", "metaclip_2_vision_model"
		}
	default:
		text.Begin, text.End, text.Pad = number(t.VocabSize-2), number(t.VocabSize-1), number(cmp.Or(t.PadID, 1))
	}
	var err error
	h.Text, err = json.Marshal(text)
	if err == nil {
		h.Vision, err = json.Marshal(vision)
	}
	return h, err
}
