package clip

import (
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/timm"
	"github.com/goclip/goclip/torch/checkpoint"
)

// describeShapes reads the architecture off a file's names and shapes, as OpenAI's build_model does (openai/CLIP
// clip/model.py): a built-in config of exactly these tensors or, if there is none, a model with a head for every 64 of
// its width. Which GELU the weights want no shape tells: where the file does not say so either, and both are published,
// it is an error. The file stays open for the weights to be read.
func describeShapes(path string, o OpenOptions) (d description, err error) {
	f, err := checkpoint.Open(path)
	if err != nil {
		return d, fmt.Errorf("clip: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	d = description{dir: filepath.Dir(path), weights: path, file: f}
	quick, known := trainedQuickGELU(f)
	if o.QuickGELU {
		quick, known = true, true
	}
	shapes := shapesOf(tensors(f))
	own := shapes.sizes()
	var fits []*tower.Config
	var names []string
	for _, name := range tower.ConfigNames() {
		c, err := tower.LookupConfig(name)
		if err != nil {
			return d, err
		}
		ofTimm := c.Vision.TimmModelName != "" && c.Text.HFModelName == "" // SigLIP's towers know no QuickGELU
		if sizesOf(c) != own || known && !ofTimm && c.QuickGELU != quick || o.QuickGELU && ofTimm {
			continue
		}
		m, err := tryAllocate(c)
		if err != nil {
			return d, err
		}
		if m.fits(f) && !slices.ContainsFunc(fits, func(other *tower.Config) bool { return reflect.DeepEqual(other, c) }) {
			fits, names = append(fits, c), append(names, name)
		}
	}
	switch {
	case len(fits) == 1:
		d.config = fits[0]
		o.log("%s is a %s by its shapes", path, names[0])
		return d, nil
	case len(fits) > 1:
		return d, marked{fmt.Errorf("clip: %s fits %s, and its weights do not tell which: open one of them, with Pretrained %s", path, strings.Join(names, " and "), path), ErrAmbiguous}
	}
	if d.config, err = shapes.config(quick); err != nil {
		return d, fmt.Errorf("clip: %s: %w", path, err)
	}
	if !known {
		return d, marked{fmt.Errorf("clip: %s fits no built-in config, and does not say with which GELU it was trained: open a directory with %s, or set QuickGELU", path, ConfigFile), ErrAmbiguous}
	}
	o.log("%s has %v; %v", path, d.config.Vision, d.config.Text)
	return d, nil
}

// fits reports whether a file has exactly the model's tensors.
func (m *Model) fits(f *checkpoint.File) bool {
	found, problems := m.weights(f)
	for key, p := range m.State() {
		w, ok := found[key]
		if !ok || w.zero || !w.fits(p.Shape()) {
			return false
		}
	}
	return len(problems) == 0
}

// sizes are the numbers by which architectures differ at a glance.
type sizes struct {
	embed                        int
	width, depth, places         int // of the image tower
	vocab, textWidth, textLayers int
	context                      int
}

func sizesOf(c *tower.Config) sizes {
	v, t := c.Vision, c.Text
	rows, columns := v.Grid()
	s := sizes{embed: c.EmbedDim, width: v.Width, places: rows*columns + 1, vocab: t.VocabSize, textWidth: t.Width, textLayers: t.Layers, context: t.ContextLength}
	for _, layers := range v.Layers {
		s.depth += layers
	}
	switch m, ofTimm := timm.ViTs[v.TimmModelName]; {
	case v.IsFastViT(), v.IsSwin(): // told apart by all their tensors
		s.width, s.depth, s.places = 0, 0, 0
	case v.IsConvNeXt(), m.Relative > 0, m.NoPositions:
		s.places = 0 // it has no positions
	case ofTimm && (m.Pool != "token" || m.Convolutions != nil), timm.Evas[v.TimmModelName].NoClass:
		s.places--
	}
	if t.EmbedCls {
		s.context++
	}
	if hf, ok := t.Encoder(); ok && t.HFModelName != "" {
		s.context = hf.Embedded()
	}
	return s
}

// fileShapes are the shapes of a file's tensors under open_clip's names without the text tower's prefix.
type fileShapes func(key string) []int

func shapesOf(all map[string]checkpoint.Entry) fileShapes {
	other := isHuggingFace(all)
	return func(key string) []int {
		if other {
			if w, missing := huggingFaceKeys(key).find(all); len(w.parts) > 0 && len(missing) == 0 {
				return w.shape()
			}
			return nil
		}
		if e, ok := all[key]; ok {
			return e.Shape
		}
		return all["text."+key].Shape
	}
}

// size is one dimension of the first of the tensors that is there, 0 without.
func (s fileShapes) size(dim int, keys ...string) int {
	for _, key := range keys {
		if shape := s(key); len(shape) > 0 {
			if dim < 0 {
				dim += len(shape)
			}
			if dim >= 0 && dim < len(shape) {
				return shape[dim]
			}
			return 0
		}
	}
	return 0
}

// count is how many blocks there are: prefix.0.suffix, prefix.1.suffix, ...
func (s fileShapes) count(prefix, suffix string) (n int) {
	for n < 1<<12 && s(fmt.Sprintf("%s.%d.%s", prefix, n, suffix)) != nil {
		n++
	}
	return n
}

func (s fileShapes) sizes() sizes {
	z := sizes{
		width:     s.size(0, "visual.conv1.weight", "visual.trunk.blocks.0.norm1.weight", "visual.trunk.stem.0.weight"),
		depth:     s.count("visual.transformer.resblocks", "ln_1.weight"),
		places:    s.size(-2, "visual.positional_embedding", "visual.trunk.pos_embed", "visual.attnpool.positional_embedding"),
		vocab:     s.size(0, "token_embedding.weight", "transformer.embeddings.word_embeddings.weight", "transformer.embed_tokens.weight"),
		textWidth: s.size(1, "token_embedding.weight", "transformer.embeddings.word_embeddings.weight", "transformer.embed_tokens.weight"),
		textLayers: s.count("transformer.resblocks", "ln_1.weight") + s.count("transformer.encoder.layer", "output.dense.weight") +
			s.count("transformer.layers", "fc1.weight") + s.count("transformer.block", "layer.0.layer_norm.weight"),
		context: s.size(0, "positional_embedding", "transformer.embeddings.position_embeddings.weight"),
	}
	if stages := s.stages(); stages != nil {
		z.width *= 2 // the stem begins at half of it
		z.depth = stages[0] + stages[1] + stages[2] + stages[3]
	}
	if s("visual.ln_post.weight") == nil {
		z.depth += s.count("visual.trunk.blocks", "norm1.weight")
	}
	for stage := range 4 { // of a ConvNeXt
		z.depth += s.count(fmt.Sprintf("visual.trunk.stages.%d.blocks", stage), "conv_dw.weight")
	}
	z.embed = s.size(1, "visual.proj")
	for _, key := range []string{"visual.attnpool.c_proj.weight", "visual.head.proj.weight", "visual.head.mlp.fc2.weight", "visual.trunk.head.weight", "visual.trunk.head.fc.weight"} {
		z.embed = max(z.embed, s.size(0, key))
	}
	if z.embed == 0 { // SigLIP's features are as wide as the tower
		z.embed = z.width
	}
	return z
}

// stages counts a ResNet's blocks, nil for another tower.
func (s fileShapes) stages() tower.Layers {
	var l tower.Layers
	for stage := range 4 {
		l = append(l, s.count(fmt.Sprintf("visual.layer%d", stage+1), "conv1.weight"))
	}
	if l[0] == 0 {
		return nil
	}
	return l
}

// config is the architecture of OpenAI's kind that has these shapes.
func (s fileShapes) config(quick bool) (*tower.Config, error) {
	z := s.sizes()
	heads := func(width int) int { return max(1, width/64) }
	c := &tower.Config{EmbedDim: z.embed, QuickGELU: quick,
		Vision: tower.VisionConfig{Layers: tower.Layers{z.depth}, Width: z.width, PatchSize: s.size(-1, "visual.conv1.weight")},
		Text:   tower.TextConfig{ContextLength: z.context, VocabSize: z.vocab, Width: z.textWidth, Heads: heads(z.textWidth), Layers: z.textLayers}}
	side := squareRoot(z.places - 1)
	if stages := s.stages(); stages != nil {
		c.Vision.Layers, c.Vision.PatchSize = stages, 0
		c.Vision.ImageSize = tower.Square(32 * side)
	} else {
		c.Vision.ImageSize = tower.Square(side * c.Vision.PatchSize)
		c.Vision.MLPRatio = tower.MLPRatio(s.size(0, "visual.transformer.resblocks.0.mlp.c_fc.weight"), max(1, z.width))
	}
	c.Text.MLPRatio = tower.MLPRatio(s.size(0, "transformer.resblocks.0.mlp.c_fc.weight"), max(1, z.textWidth))
	if side == 0 || z.vocab == 0 || z.depth == 0 || z.textLayers == 0 || c.Complete() != nil {
		return nil, marked{fmt.Errorf("its shapes are no CLIP's that can be told by them alone: open a directory with %s, or a built-in config with Pretrained", ConfigFile), ErrAmbiguous}
	}
	if z.width%64 != 0 || z.textWidth%64 != 0 {
		return nil, marked{fmt.Errorf("the widths %d and %d are no multiples of 64, and the weights do not tell the number of heads: open a directory with %s", z.width, z.textWidth, ConfigFile), ErrAmbiguous}
	}
	return c, nil
}

// squareRoot is the side of a square of n, or 0 if n is not a square.
func squareRoot(n int) int {
	side := int(math.Round(math.Sqrt(float64(max(n, 0)))))
	if side*side != n {
		return 0
	}
	return side
}
