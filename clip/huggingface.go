package clip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tokenizer"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// The files of a model directory in Hugging Face's layout (transformers).
const (
	hfConfigFile     = "config.json"
	hfPreprocessFile = "preprocessor_config.json"
	hfProcessorFile  = "processor_config.json" // holds the former since transformers 5, if a processor was saved whole
)

// readHuggingFacePreprocess is how a Hugging Face directory prepares images; ok is false where it does not say.
func readHuggingFacePreprocess(dir fs.FS) (c preprocess.Config, ok bool, err error) {
	data, err := fs.ReadFile(dir, hfPreprocessFile)
	file := hfPreprocessFile
	if errors.Is(err, fs.ErrNotExist) {
		file = hfProcessorFile
		if data, err = fs.ReadFile(dir, file); errors.Is(err, fs.ErrNotExist) {
			return c, false, nil
		}
		var whole struct {
			Image json.RawMessage `json:"image_processor"`
		}
		if err == nil {
			err = json.Unmarshal(data, &whole)
		}
		if data = whole.Image; err == nil && len(data) == 0 {
			return c, false, nil
		}
	}
	if err == nil {
		c, err = preprocess.ParseHuggingFace(data)
	}
	if err != nil {
		return c, false, fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "preprocess: "))
	}
	return c, true, nil
}

// isHuggingFace tells the keys of transformers' models from OpenAI's.
func isHuggingFace(all map[string]checkpoint.Entry) bool {
	for name := range all {
		if strings.HasPrefix(name, "vision_model.") || strings.HasPrefix(name, "text_model.") {
			return true
		}
	}
	return false
}

// The keys of transformers (convert_clip_original_pytorch_to_hf.py, convert_siglip_to_hf.py) behind open_clip's,
// longest prefix first. "pre_layrnorm" is theirs.
var (
	huggingFacePrefixes = [][2]string{
		{"visual.conv1.", "vision_model.embeddings.patch_embedding."},
		{"visual.ln_pre.", "vision_model.pre_layrnorm."},
		{"visual.ln_post.", "vision_model.post_layernorm."},
		{"visual.transformer.resblocks.", "vision_model.encoder.layers."},
		{"visual.trunk.patch_embed.proj.", "vision_model.embeddings.patch_embedding."},
		{"visual.trunk.embeds.proj.", "vision_model.embeddings.patch_embedding."}, // of a Siglip2Model
		{"visual.trunk.blocks.", "vision_model.encoder.layers."},
		{"visual.trunk.norm.", "vision_model.post_layernorm."},
		{"visual.trunk.attn_pool.latent", "vision_model.head.probe"},
		{"visual.trunk.attn_pool.proj.", "vision_model.head.attention.out_proj."},
		{"visual.trunk.attn_pool.norm.", "vision_model.head.layernorm."},
		{"visual.trunk.attn_pool.mlp.", "vision_model.head.mlp."},
		{"transformer.resblocks.", "text_model.encoder.layers."},
		{"transformer.embeddings.", "text_model.embeddings."}, // of a ChineseCLIPModel or an AltCLIPModel, as the next four
		{"transformer.encoder.", "text_model.encoder."},
		{"pre_LN.", "text_model.pre_LN."},
		{"transformation.", "text_model.transformation."},
		{"proj.", "text_projection."},
		{"token_embedding.", "text_model.embeddings.token_embedding."},
		{"ln_final.", "text_model.final_layer_norm."},
		{"text_projection.", "text_model.head."}, // SigLIP's, with a bias
		{"logit_scale", "logit_scale"},
		{"logit_bias", "logit_bias"},
	}
	huggingFaceWhole = map[string]source{
		"visual.class_embedding":        whole("vision_model.embeddings.class_embedding"),
		"visual.positional_embedding":   whole("vision_model.embeddings.position_embedding.weight"),
		"visual.trunk.pos_embed":        whole("vision_model.embeddings.position_embedding.weight"),
		"visual.trunk.embeds.pos_embed": {rows: whole("vision_model.embeddings.position_embedding.weight").rows, reshaped: true},
		"visual.proj":                   transposed("visual_projection.weight"),
		"positional_embedding":          whole("text_model.embeddings.position_embedding.weight"),
		"text_projection":               transposed("text_projection.weight"),
	}
	// huggingFaceParts are the names inside a block.
	huggingFaceParts = strings.NewReplacer(".ln_1.", ".layer_norm1.", ".ln_2.", ".layer_norm2.", ".norm1.", ".layer_norm1.", ".norm2.", ".layer_norm2.",
		".attn.out_proj.", ".self_attn.out_proj.", ".attn.proj.", ".self_attn.out_proj.", ".mlp.c_fc.", ".mlp.fc1.", ".mlp.c_proj.", ".mlp.fc2.")
)

// huggingFaceKeys is the layout of transformers' CLIPModel and SiglipModel: queries, keys and values lie apart in a
// block and together in SigLIP's pooling head, and CLIP's projections are transposed.
func huggingFaceKeys(key string) source {
	key = strings.TrimPrefix(key, "text.")
	if s, ok := huggingFaceWhole[key]; ok {
		return s
	}
	for _, kind := range []string{"weight", "bias"} {
		packed := "vision_model.head.attention.in_proj_" + kind
		switch key {
		case "visual.trunk.attn_pool.q." + kind:
			return source{rows: []rows{{packed, 0, 3}}}
		case "visual.trunk.attn_pool.kv." + kind:
			return source{rows: []rows{{packed, 1, 3}, {packed, 2, 3}}}
		}
	}
	i := slices.IndexFunc(huggingFacePrefixes, func(p [2]string) bool { return strings.HasPrefix(key, p[0]) })
	if i < 0 {
		return source{}
	}
	name := huggingFacePrefixes[i][1] + strings.TrimPrefix(key, huggingFacePrefixes[i][0])
	for _, packed := range [][2]string{{".attn.in_proj_", "weight"}, {".attn.in_proj_", "bias"}, {".attn.qkv.", "weight"}, {".attn.qkv.", "bias"}} {
		if block, ok := strings.CutSuffix(name, packed[0]+packed[1]); ok {
			var s source
			for _, p := range []string{"q", "k", "v"} {
				s.rows = append(s.rows, rows{block + ".self_attn." + p + "_proj." + packed[1], 0, 1})
			}
			return s
		}
	}
	return whole(huggingFaceParts.Replace(name))
}

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
	if err := m.CheckWeights(); err != nil {
		return err
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
