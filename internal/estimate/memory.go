package estimate

import (
	"math"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
)

// Training is how a step is carried out, as far as memory is concerned.
type Training struct {
	Batch         int  // pairs of this process in a step
	MicroBatch    int  // of them, carried through the towers at once; 0 is all of them
	World         int  // processes; 0 is one
	Tokens        int  // of the longest text; 0 is the context length
	BFloat16      bool // products in bfloat16 by autocast, weights in float32
	Tile          int  // edge of the loss's tiles; 0 is what [loss.TiledContrastive] chooses on a CPU
	Checkpointing bool // a block keeps its input alone and is computed again in the backward
}

// Memory is what a training step holds at its worst moment, in bytes.
type Memory struct {
	Weights    float64 // float32
	Gradients  float64 // of the weights that learn
	Optimiser  float64 // AdamW's two moments
	Casts      float64 // the weights in bfloat16, kept by autocast
	Images     float64 // the batch's pixels, float32
	Features   float64 // of all processes, with the gradients of one's own
	Loss       float64 // two tiles of the similarities
	ImageTower float64 // what the image tower keeps of a micro-batch for its backward
	TextTower  float64
	Workspace  float64 // what a block computes and does not keep, forward or backward

	textGradients float64
	cached        bool
}

// MemoryOf estimates a step from the shapes alone. What libtorch and Go take before there is a model, some 130 MB on a
// CPU and more on a GPU, and the loader's batches and cache come on top. docs/internals/scale.md holds the estimate against
// measured steps.
func MemoryOf(m *clip.Model, t Training) Memory {
	micro := t.Batch
	if t.MicroBatch > 0 {
		micro = min(t.MicroBatch, t.Batch)
	}
	if t.Tokens == 0 {
		t.Tokens = m.ContextLength()
	}
	e := Memory{cached: micro < t.Batch}
	var matrices float64
	for key, p := range m.Parameters() {
		n := 4 * float64(p.Numel())
		e.Weights += n
		if p.Dim() >= 2 && !isEmbedding(key) {
			matrices += n
		}
		if p.RequiresGrad() {
			e.Gradients += n
			e.Optimiser += 2 * n
			if !strings.HasPrefix(key, "visual.") {
				e.textGradients += n
			}
		}
	}
	if t.BFloat16 {
		e.Casts = matrices / 2
	}
	size := m.Config.Vision.ImageSize
	e.Images = 4 * 3 * float64(size.Height*size.Width*t.Batch)
	world := float64(max(t.World, 1))
	features := 4 * float64(m.Config.EmbedDim) * float64(t.Batch)
	e.Features = 2*features*world + 2*features
	if t.Tile == 0 {
		t.Tile = 2048
	}
	e.Loss = 2 * 4 * math.Min(float64(t.Tile), float64(t.Batch)) * math.Min(float64(t.Tile), float64(t.Batch)*world)

	_, learns := learning(m)
	imageTower, imageWork := imageActivations(m, t)
	textTower, textWork := textActivations(m, t)
	if learns[0] > 0 {
		e.ImageTower = float64(micro) * imageTower
	}
	if learns[1] > 0 {
		e.TextTower = float64(micro) * textTower
	}
	e.Workspace = float64(micro) * math.Max(imageWork, textWork)
	return e
}

// Peak returns the worst moment of a step. Gradients come as activations go, the image tower's first; with gradient
// accumulation they stay from one micro-batch to the next, and one tower at a time has activations.
func (m Memory) Peak() float64 {
	always := m.Weights + m.Optimiser + m.Casts + m.Images + m.Features + m.Loss
	if m.cached {
		return always + m.Gradients + max(m.ImageTower, m.TextTower) + m.Workspace
	}
	return always + max(m.ImageTower+m.TextTower+m.Workspace, m.Gradients-m.textGradients+m.TextTower+m.Workspace, m.Gradients)
}

// activations of a transformer, in bytes of one sequence: what it keeps for the backward and, beyond that, what a block
// needs while it is computed.
type activations struct {
	width, hidden, heads, layers, tokens int
	quick                                bool // QuickGELU keeps its sigmoid as well
	pooled                               bool // the last block is [tower.Transformer.Pooled]'s
	stem                                 int  // rows of the width in float32 that are kept before and behind the blocks
}

// bytes: a block keeps its input x, LN(x), queries with keys and values, attention's output, the input of the second
// half, its LN, and the perceptron's hidden layer before and behind the activation. With autocast the residual stream
// and what LayerNorm reads stay float32, all others are bfloat16.
func (a activations) bytes(t Training) (kept, work float64) {
	w, h, n := float64(a.width), float64(a.hidden), float64(a.tokens)
	full, half := 4.0, 4.0
	if t.BFloat16 {
		half = 2
	}
	hidden := 2 * h
	if a.quick {
		hidden += h
	}
	statistics := 4 * float64(4+a.heads)
	block := n * (full*2*w + half*(6*w+hidden) + statistics)
	last := block
	if a.pooled {
		last = n * (full*w + half*3*w)
	}
	kept = full*float64(a.stem)*w*n + float64(a.layers-1)*block + last
	work = n * (full*3*w + half*(3*w+2*hidden))
	if t.Checkpointing {
		kept = full*float64(a.stem)*w*n + float64(a.layers)*full*w*n
		work += block
	}
	return kept, work
}

func imageActivations(m *clip.Model, t Training) (kept, work float64) {
	c := m.Config
	v := c.Vision
	if v.IsResNet() {
		return resNetActivations(c, t)
	}
	switch {
	case v.IsConvNeXt():
		return convNeXtActivations(c, t)
	case v.IsFastViT():
		return fastViTActivations(c, t)
	case v.IsSwin():
		return swinActivations(c, t)
	}
	rows, columns := v.Grid()
	a := activations{width: v.Width, hidden: int(float64(v.Width) * v.MLPRatio), heads: v.Width / v.HeadWidth, layers: v.Depth(),
		tokens: rows * columns, stem: 1}
	switch v := m.Visual.(type) {
	case *tower.ViT:
		a.tokens = 1 + keptPatches(a.tokens, v.PatchDropout())
		a.quick, a.pooled = c.QuickGELU && c.Vision.ActOptions == nil, v.AttnPool == nil && c.Vision.PoolType != "avg"
		if v.LnPre == nil {
			a.stem = 0
		}
	case *tower.Eva:
		if a.tokens++; v.Blocks[0].GLU != nil {
			a.hidden = a.hidden * 5 / 2 // the gate before and behind its activation, what it gates, that gated, that normalised
		}
	case *tower.TimmViT:
		a.tokens = keptPatches(a.tokens, v.PatchDropout())
		a.stem = 4 // the last block's output, that normalised, and the pool's keys and values
		if v.ClassToken != nil {
			a.tokens++
		}
		if v.Blocks[0].GLU != nil {
			a.hidden = a.hidden * 2 // the gate before and behind its activation, what it gates, that gated
		}
		if v.MBConvs != nil {
			a.stem += mbConvRows
		}
	}
	return a.bytes(t)
}

func textActivations(m *clip.Model, t Training) (kept, work float64) {
	c := m.Config.Text
	a := activations{width: c.Width, hidden: int(float64(c.Width) * c.MLPRatio), heads: c.Heads, layers: c.Layers, tokens: t.Tokens}
	if hf, ok := c.Encoder(); ok && c.HFModelName != "" {
		kept, work = a.bytes(t)
		n, w := float64(t.Tokens), float64(c.Width)
		masks := 2 * n * w           // one byte for each number that dropout leaves or not
		if hf.AttentionDropout > 0 { // then attention keeps its probabilities, with and without dropout
			masks += float64(c.Heads) * n * n * (2*4 + 1)
		}
		if t.Checkpointing {
			return kept, work + masks
		}
		return kept + float64(c.Layers)*masks, work
	}
	a.quick = m.Config.QuickGELU && c.ActOptions == nil
	a.pooled = !c.EmbedCls && c.PoolType != "first" && c.PoolType != "last"
	return a.bytes(t)
}

// resNetActivations: each convolution is kept before and behind its normalisation, the last of a block before it and
// behind the sum.
func resNetActivations(c *tower.Config, t Training) (kept, work float64) {
	v := c.Vision
	size := 4.0
	if t.BFloat16 {
		size = 2
	}
	side := float64(v.ImageSize.Height) / 2
	add := func(maps float64) {
		bytes := size * side * side * maps
		kept, work = kept+bytes, math.Max(work, 2*bytes)
	}
	add(float64(4 * v.Width)) // half, half and whole the width, each twice
	side /= 2
	add(float64(v.Width))
	for stage, count := range v.Layers {
		planes := float64(v.Width << stage)
		for b := range count {
			add(4 * planes)
			if b == 0 && stage > 0 {
				side /= 2
				add(planes)
			}
			add(2 * expansion * planes)
			if b == 0 {
				add(2 * expansion * planes)
			}
		}
	}
	places := 1 + side*side
	return kept + 4*places*6*float64(32*v.Width), work
}

// isEmbedding tells of a table that no product reads.
func isEmbedding(key string) bool { return strings.Contains(key, "embedding") }
