// Package estimate says what a training step costs before it is run: floating-point operations, memory, and
// what processes send each other.
package estimate

import (
	"slices"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// Costs count floating-point operations, a multiplication and an addition being two, of products and convolutions
// alone: what torch.utils.flop_counter counts. testdata/clip/make_flops.py holds them against open_clip's own modules.

// ImageFLOPs returns the cost of one image's forward as open_clip computes it.
func ImageFLOPs(c *tower.Config) float64 {
	rows, columns := c.Vision.Grid()
	return imageFLOPs(c, rows*columns, false)
}

// TextFLOPs returns the cost of a forward of one text of so many tokens, start and end included, as open_clip computes it.
func TextFLOPs(c *tower.Config, tokens int) float64 { return textFLOPs(c, tokens, false) }

// StepCost is what a training step costs, and how much of it each tower takes. It is a snapshot: of the parameters that
// learn and the patches that are left out when it was made.
type StepCost struct {
	image       float64 // forward of one image, as goclip computes it
	text        func(tokens int) float64
	imagePasses float64 // how many forwards a step is worth: 3, of which 2 are the backward, or 1 for a locked tower
	textPasses  float64
}

// StepCostOf counts what goclip computes: of the last block what the pooled position needs, no dropped patches, and no
// backward that nothing needs. The gradient of a tower's weights counts by the fraction of them that learn, that of its
// activations wholly if it reaches the first block, as with LoRA, and else by the same share. A forward that is computed
// twice, for checkpointing or gradient accumulation, counts once.
func StepCostOf(m *clip.Model) StepCost {
	rows, columns := m.Config.Vision.Grid()
	patches := rows * columns
	if v, ok := m.Visual.(tower.PatchDropper); ok {
		patches = keptPatches(patches, v.PatchDropout())
	}
	weights, activations := learning(m)
	return StepCost{image: imageFLOPs(m.Config, patches, true), imagePasses: 1 + weights[0] + activations[0],
		text: func(tokens int) float64 { return textFLOPs(m.Config, tokens, true) }, textPasses: 1 + weights[1] + activations[1]}
}

// FLOPs returns the cost of a step on pairs whose texts are computed at these lengths, [Lengths].
func (c StepCost) FLOPs(lengths []int) float64 {
	cost := float64(len(lengths)) * c.imagePasses * c.image
	for _, tokens := range lengths {
		cost += c.textPasses * c.text(tokens)
	}
	return cost
}

// Lengths is, of a batch's texts given as rows of ContextLength tokens, the number of tokens at which each is
// computed with products of the given type, in no particular order.
func Lengths(m *clip.Model, tokens []int64, products torch.DType) []int {
	context := m.ContextLength()
	if t, ok := m.Text.(tower.Measurer); ok {
		return t.Lengths(tokens, context, products)
	}
	return slices.Repeat([]int{context}, len(tokens)/context)
}

// learning is, of the image tower and of the text tower, the fraction of the matrices that learn, and the fraction of the
// blocks that gradients come through.
func learning(m *clip.Model) (weights, activations [2]float64) {
	var all, learn [2]float64
	for key, p := range m.Parameters() {
		tower := 1
		if strings.HasPrefix(key, "visual.") {
			tower = 0
		}
		if p.RequiresGrad() && slices.ContainsFunc(firstBlocks, func(name string) bool { return strings.Contains(key, name) }) {
			activations[tower] = 1
		}
		if p.Dim() < 2 {
			continue
		}
		all[tower] += float64(p.Numel())
		if p.RequiresGrad() {
			learn[tower] += float64(p.Numel())
		}
	}
	for tower := range all {
		weights[tower] = learn[tower] / all[tower]
		activations[tower] = max(activations[tower], weights[tower])
	}
	return weights, activations
}

// firstBlocks are in the keys of a tower's first block: CLIP's own, timm's, a RoBERTa's, a ResNet's
// and a ConvNeXt's.
var firstBlocks = []string{"resblocks.0.", "trunk.blocks.0.", "encoder.layer.0.", "layer1.0.", "stages.0.blocks.0.", "trunk.layers.0.blocks.0."}

func keptPatches(patches int, dropout float64) int {
	if dropout == 0 {
		return patches
	}
	return max(1, int(float64(patches)*(1-dropout)))
}

// imageFLOPs is a forward of which so many patches reach the blocks. pooled is goclip's own way with the last block.
func imageFLOPs(c *tower.Config, patches int, pooled bool) float64 {
	v := c.Vision
	if v.IsResNet() {
		return resNetFLOPs(c, pooled)
	}
	switch {
	case v.IsConvNeXt():
		return convNeXtFLOPs(c)
	case v.IsFastViT():
		return fastViTFLOPs(c)
	case v.IsSwin():
		return swinFLOPs(c)
	}
	rows, columns := v.Grid()
	w := float64(v.Width)
	cost := product(rows*columns, 3*v.PatchSize*v.PatchSize, v.Width)
	hidden := int(w * v.MLPRatio)
	switch {
	case v.IsEva():
		return cost + evaFLOPs(c, patches)
	case v.TimmModelName != "":
		return timmFLOPs(c, patches)
	case v.AttentionalPool:
		q, e := v.AttnPoolerQueries, c.EmbedDim
		return cost + blocks(v.Width, hidden, v.Depth(), 1+patches, false) + 2*product(q, e, e) + 2*product(1+patches, v.Width, e) +
			4*float64(q*(1+patches)*e) + product(1, e, e)
	default:
		return cost + blocks(v.Width, hidden, v.Depth(), 1+patches, pooled && v.PoolType != "avg") + product(1, v.Width, c.EmbedDim)
	}
}

// resNetFLOPs has in its last pooling one query, the mean, where open_clip computes one for every place.
func resNetFLOPs(c *tower.Config, pooled bool) float64 {
	v := c.Vision
	conv := func(side, in, out, kernel int) float64 { return product(side*side, in*kernel*kernel, out) }
	side := v.ImageSize.Height / 2
	cost := conv(side, 3, v.Width/2, 3) + conv(side, v.Width/2, v.Width/2, 3) + conv(side, v.Width/2, v.Width, 3)
	side /= 2
	in := v.Width
	for stage, count := range v.Layers {
		planes := v.Width << stage
		for b := range count {
			cost += conv(side, in, planes, 1) + conv(side, planes, planes, 3)
			if b == 0 && stage > 0 {
				side /= 2
			}
			cost += conv(side, planes, expansion*planes, 1)
			if b == 0 {
				cost += conv(side, in, expansion*planes, 1)
			}
			in = expansion * planes
		}
	}
	places := 1 + side*side // the mean is one
	queries := places
	if pooled {
		queries = 1
	}
	return cost + product(queries, in, in) + 2*product(places, in, in) + 4*float64(queries*places*in) + product(queries, in, c.EmbedDim)
}

func textFLOPs(c *tower.Config, tokens int, pooled bool) float64 {
	t := c.Text
	hidden := int(float64(t.Width) * t.MLPRatio)
	if t.HFModelName == "" {
		if t.EmbedCls {
			tokens++
		}
		pooled = pooled && !t.EmbedCls && t.PoolType != "first" && t.PoolType != "last"
		cost := blocks(t.Width, hidden, t.Layers, tokens, pooled)
		if t.ProjType == "none" {
			return cost
		}
		return cost + product(1, t.Width, c.EmbedDim)
	}
	cost := blocks(t.Width, hidden, t.Layers, tokens, false)
	hf, _ := t.Encoder()
	if t.HFPoolerType == "cls_pooler" && hf.Embedded() > 0 { // a RoBERTa's or a BERT's
		cost += product(1, t.Width, t.Width)
	}
	if hf.ModelType == "mt5" { // its perceptrons are gated
		cost += float64(t.Layers) * product(tokens, t.Width, hidden)
	}
	switch t.HFProjType {
	case "linear":
		cost += product(1, t.Width, c.EmbedDim)
	case "mlp":
		cost += product(1, t.Width, (t.Width+c.EmbedDim)/2) + product(1, (t.Width+c.EmbedDim)/2, c.EmbedDim)
	}
	return cost
}

// product is (rows, in) @ (in, out).
func product(rows, in, out int) float64 { return 2 * float64(rows) * float64(in) * float64(out) }

// blocks is a transformer: per block four matrices of attention, two of the perceptron, and attention's two products
// over all pairs of tokens. With pooled the last block computes what [tower.Transformer.Pooled] does.
func blocks(width, hidden, layers, tokens int, pooled bool) float64 {
	block := 4*product(tokens, width, width) + 2*product(tokens, width, hidden) + 4*float64(tokens)*float64(tokens)*float64(width)
	cost := float64(layers) * block
	if pooled {
		cost += 2*product(tokens, width, width) + 2*product(1, width, width) + 2*product(1, width, hidden) + 4*float64(tokens)*float64(width) - block
	}
	return cost
}

// expansion is how much wider a ResNet block's output is than its middle.
const expansion = 4
