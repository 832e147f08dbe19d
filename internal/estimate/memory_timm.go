package estimate

import (
	"math"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/timm"
)

// convNeXtActivations: of each place a block keeps its input, that convolved and normalised, and
// the perceptron's hidden layer before and behind the activation and its output. With autocast the
// residual stream and what LayerNorm reads stay float32, all others are bfloat16.
func convNeXtActivations(c *tower.Config, t Training) (kept, work float64) {
	v := c.Vision
	m := timm.ConvNeXts[v.TimmModelName]
	full, half := 4.0, 4.0
	if t.BFloat16 {
		half = 2
	}
	rows, columns := v.ImageSize.Height/4, v.ImageSize.Width/4
	for stage, w := range m.Widths {
		if stage > 0 {
			rows, columns = rows/2, columns/2
		}
		numbers := float64(rows * columns * w)
		block, needs := numbers*(full*2+half*(2+2*4)), numbers*(full*2+half*2*4)
		if t.Checkpointing {
			block, needs = numbers*full, needs+block
		}
		work = math.Max(work, needs)
		kept += numbers*2*full + float64(m.Depths[stage])*block // the stem's or the downsampling's output, and that normalised
	}
	return kept, work
}

// mbConvRows is what a ViTamin's stem keeps, in tokens' rows for each token: of 64 and 16 places each
// block's fourfold channels, before and behind two activations and normalised.
const mbConvRows = 64

// fastViTActivations: in training each branch keeps its output and that normalised, a perceptron its
// hidden layer before and behind the activation.
func fastViTActivations(c *tower.Config, t Training) (kept, work float64) {
	m := timm.FastViTs[c.Vision.TimmModelName]
	size := 4.0
	if t.BFloat16 {
		size = 2
	}
	places := float64(c.Vision.ImageSize.Height*c.Vision.ImageSize.Width) / 4
	add := func(maps, width float64) {
		bytes := size * places * maps * width
		kept, work = kept+bytes, math.Max(work, 2*bytes)
	}
	add(6, float64(m.Widths[0]))
	places /= 4
	add(12, float64(m.Widths[0]))
	for stage, width := range m.Widths {
		if stage > 0 {
			places /= 4
			add(12, float64(width))
		}
		for range m.Depths[stage] {
			add(12+2*m.MLPRatio, float64(width))
		}
	}
	add(8, float64(2*m.Widths[len(m.Widths)-1]))
	return kept, work
}

// swinActivations are of a transformer's blocks, whose attention is within a window.
func swinActivations(c *tower.Config, t Training) (kept, work float64) {
	m := timm.Swins[c.Vision.TimmModelName]
	rows, columns, w := c.Vision.ImageSize.Height/m.Patch, c.Vision.ImageSize.Width/m.Patch, m.Width
	for stage, depth := range m.Depths {
		if stage > 0 {
			rows, columns, w = rows/2, columns/2, 2*w
		}
		a := activations{width: w, hidden: 4 * w, heads: m.Heads[stage], layers: depth, tokens: rows * columns, stem: 2}
		k, needs := a.bytes(t)
		area := float64(m.Window * m.Window)
		k += 4 * float64(depth) * area * float64(rows*columns*m.Heads[stage]) // the products of every pair in a window
		kept, work = kept+k, math.Max(work, needs)
	}
	return kept, work
}
