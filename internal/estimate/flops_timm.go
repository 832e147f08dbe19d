package estimate

import (
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/timm"
)

// evaFLOPs has one matrix more in a gated perceptron. A Perception Encoder's pool is four times as
// wide within.
func evaFLOPs(c *tower.Config, patches int) float64 {
	v := c.Vision
	m := timm.Evas[v.TimmModelName]
	tokens := 1 + patches
	if m.NoClass {
		tokens = patches
	}
	w, hidden := v.Width, int(float64(v.Width)*v.MLPRatio)
	cost := blocks(w, hidden, v.Depth(), tokens, false) + product(1, w, c.EmbedDim)
	switch m.Kind {
	case timm.EvaSwiGLU:
		cost += float64(v.Depth()) * product(tokens, w, hidden)
	case timm.EvaPE:
		cost += 2*product(1, w, w) + product(tokens, w, 2*w) + 4*float64(tokens*w) + 2*product(1, w, 4*w)
	}
	return cost
}

// convNeXtFLOPs: a depthwise convolution costs each channel its own 7 x 7 places.
func convNeXtFLOPs(c *tower.Config) float64 {
	v := c.Vision
	m := timm.ConvNeXts[v.TimmModelName]
	rows, columns := v.ImageSize.Height/4, v.ImageSize.Width/4
	cost := product(rows*columns, 3*4*4, m.Widths[0])
	for stage, w := range m.Widths {
		if stage > 0 {
			rows, columns = rows/2, columns/2
			cost += product(rows*columns, m.Widths[stage-1]*2*2, w)
		}
		cost += float64(m.Depths[stage]) * (product(rows*columns, 7*7, w) + 2*product(rows*columns, w, 4*w))
	}
	if v.TimmProj == "mlp" {
		return cost + product(1, m.Widths[3], 2*c.EmbedDim) + product(1, 2*c.EmbedDim, c.EmbedDim)
	}
	return cost + product(1, m.Widths[3], c.EmbedDim)
}

func timmHead(c *tower.Config) float64 {
	if c.Vision.TimmProj != "none" {
		return product(1, c.Vision.Width, c.EmbedDim)
	}
	return 0
}

// timmFLOPs is of a vision transformer of timm's, of which so many patches reach the blocks.
func timmFLOPs(c *tower.Config, patches int) float64 {
	v := c.Vision
	m := timm.ViTs[v.TimmModelName]
	rows, columns := v.Grid()
	w, hidden := v.Width, int(float64(v.Width)*v.MLPRatio)
	cost := timmHead(c)
	switch {
	case m.Convolutions != nil:
		cost += product(16*rows*columns, 3*4*4, m.Convolutions[0]) + product(4*rows*columns, m.Convolutions[0]*2*2, m.Convolutions[1]) +
			product(rows*columns, m.Convolutions[1]*2*2, w)
	case m.MBConvs != nil:
		cost += mbConvFLOPs(m, rows, columns)
	default:
		cost += product(rows*columns, 3*v.PatchSize*v.PatchSize, w)
	}
	tokens := patches
	switch m.Pool {
	case "token":
		tokens++
	case "map": // one query attends to the patches
		cost += 2*product(1, w, w) + product(patches, w, 2*w) + 4*float64(patches*w) + 2*product(1, w, hidden)
	}
	if m.Gated {
		cost += float64(v.Depth()) * product(tokens, w, hidden)
	}
	if m.Relative > 0 {
		offsets := (2*rows - 1) * (2*columns - 1)
		cost += float64(v.Depth()) * (product(offsets, 2, m.Relative) + product(offsets, m.Relative, m.Heads))
	}
	return cost + blocks(w, hidden, v.Depth(), tokens, false)
}

// mbConvFLOPs is of a ViTamin's stem, which leaves rows x columns places.
func mbConvFLOPs(m timm.ViT, rows, columns int) float64 {
	c := m.MBConvs[0]
	places := 64 * rows * columns
	cost := product(places, 3*3*3, c) + product(places, c*3*3, c)
	in := c
	for stage, w := range m.MBConvs {
		for block := range []int{2, 4}[stage] {
			cost += product(places, in, 4*w)
			if block == 0 {
				places /= 4
				if in != w {
					cost += product(places, in, w)
				}
			}
			cost += product(places, 3*3, 4*w) + product(places, 4*w, w)
			in = w
		}
	}
	return cost + product(rows*columns, in*3*3, m.Width)
}

// fastViTFLOPs counts the branches, which training computes one by one.
func fastViTFLOPs(c *tower.Config) float64 {
	m := timm.FastViTs[c.Vision.TimmModelName]
	rows, columns := c.Vision.ImageSize.Height, c.Vision.ImageSize.Width
	halve := func() { rows, columns = (rows+1)/2, (columns+1)/2 }
	places := func() int { return rows * columns }
	branches := 3*3 + 1
	if m.Second { // the stem's
		branches = 3 * 3
	}
	w := m.Widths[0]
	halve()
	cost := product(places(), 3*branches, w)
	halve()
	cost += product(places(), branches, w) + product(places(), w, w)
	for stage, out := range m.Widths {
		if stage > 0 {
			halve()
			cost += product(places(), 7*7+3*3, out) + product(places(), out, out)
			if m.Excite > 0 && stage >= m.Excite {
				cost += 2 * product(1, out, max(8, (out/4+4)/8*8))
			}
		}
		w = out
		block := product(places(), 7*7, w) + 2*product(places(), w, int(float64(w)*m.MLPRatio))
		if stage >= m.Attention {
			cost += product(places(), 7*7, w)
			block += product(places(), w, 4*w) + 4*float64(places())*float64(places())*float64(w)
		} else {
			block += product(places(), 3*3+1, w)
		}
		cost += float64(m.Depths[stage]) * block
	}
	return cost + product(places(), 3*3+1, 2*w) + 2*product(1, 2*w, 2*w/16) + product(1, 2*w, c.EmbedDim)
}

// swinFLOPs has attention within windows.
func swinFLOPs(c *tower.Config) float64 {
	m := timm.Swins[c.Vision.TimmModelName]
	rows, columns, w := c.Vision.ImageSize.Height/m.Patch, c.Vision.ImageSize.Width/m.Patch, m.Width
	cost := product(rows*columns, 3*m.Patch*m.Patch, w)
	for stage, depth := range m.Depths {
		if stage > 0 {
			rows, columns = rows/2, columns/2
			cost += product(rows*columns, 4*w, 2*w)
			w *= 2
		}
		window := min(m.Window, rows, columns)
		cost += float64(depth) * (product(rows*columns, w, 4*w) + 2*product(rows*columns, w, 4*w) + 4*float64(rows*columns*window*window*w))
	}
	return cost + product(1, w, c.EmbedDim)
}
