package preprocess

import "math"

// placement says where the resized image lies in the result: spans for both axes, and the padding before it.
type placement struct {
	x, y         span
	padX, padY   int
	filter       filter
	fill         int
	resW, resH   int // the result
	needsPadding bool
}

// place follows open_clip's image_transform for a w x h image: Resize, ResizeKeepRatio, CenterCrop, CenterCropOrPad;
// or Hugging Face's resize and center_crop.
func place(c *Config, w, h int) placement {
	resH, resW := c.Size[0], c.Size[1]
	p := placement{resW: resW, resH: resH, filter: bicubic}
	if c.Interpolation == Bilinear {
		p.filter = bilinear
	}
	var ow, oh int
	switch {
	case c.ResizeMode == Squash:
		ow, oh = resW, resH
	case c.ResizeMode == Patches:
		ow, oh = c.flexibleSize(w, h)
		p.resW, p.resH = ow, oh
		resW, resH = ow, oh
	case c.ResizeMode == Longest:
		ow, oh = keepRatio(w, h, resW, resH, 1)
		p.fill = c.FillColor
	case c.ShortestEdge > 0:
		ow, oh = shorterSide(w, h, c.ShortestEdge)
	case resW == resH:
		ow, oh = shorterSide(w, h, resW)
	default:
		// open_clip passes no interpolation here: a result that is not square is always bicubic.
		ow, oh = keepRatio(w, h, resW, resH, 0)
		p.filter = bicubic
	}
	fit := window
	if c.Order == OrderHuggingFace {
		fit = windowDown
	}
	p.x, p.padX = fit(w, ow, resW)
	p.y, p.padY = fit(h, oh, resH)
	p.needsPadding = ow < resW || oh < resH
	return p
}

// Seen returns the part of a width x height image that the transform shows the model, in the image's own
// pixels: from (x0, y0) to (x1, y1), beyond the image where the transform pads it.
func (t *Transform) Seen(width, height int) (x0, y0, x1, y1 float64) {
	p := place(&t.cfg, width, height)
	x, y := float64(p.x.in)/float64(p.x.out), float64(p.y.in)/float64(p.y.out) // pixels of the image for one of the result
	x0, y0 = float64(p.x.from-p.padX)*x, float64(p.y.from-p.padY)*y
	return x0, y0, x0 + float64(p.resW)*x, y0 + float64(p.resH)*y
}

// shorterSide is torchvision's Resize(n): the longer side is cut to a whole number, not rounded.
func shorterSide(w, h, n int) (ow, oh int) {
	if w <= h {
		return n, int(float64(n*h) / float64(w))
	}
	return int(float64(n*w) / float64(h)), n
}

// keepRatio is open_clip's ResizeKeepRatio with longest 0 or 1. Pillow refuses a side that rounds to 0; here it is 1.
func keepRatio(w, h, resW, resH int, longest float64) (ow, oh int) {
	rw, rh := float64(w)/float64(resW), float64(h)/float64(resH)
	ratio := float64(max(rh, rw)*longest) + float64(min(rh, rw)*(1-longest))
	ow = int(math.RoundToEven(float64(w) / ratio))
	oh = int(math.RoundToEven(float64(h) / ratio))
	return max(ow, 1), max(oh, 1)
}

// window is torchvision's CenterCrop on one axis: in source pixels resized to out, of which n are kept, or fewer and
// pad before them. The origin is rounded as Python rounds, half to even: gaps of 1, 3, 5, 7 start at 0, 2, 2, 4.
func window(in, out, n int) (s span, pad int) {
	s = span{in: in, out: out, count: min(out, n)}
	if out < n {
		return s, (n - out) / 2
	}
	gap := out - n
	s.from = gap / 2
	if gap%2 == 1 && s.from%2 == 1 {
		s.from++
	}
	return s, 0
}

// windowDown is window as transformers' center_crop has it: the origin (out-n)/2 is rounded down, below zero too, so the
// larger half of a padding comes first.
func windowDown(in, out, n int) (s span, pad int) {
	s = span{in: in, out: out, count: min(out, n)}
	if out < n {
		return s, (n - out + 1) / 2
	}
	s.from = (out - n) / 2
	return s, 0
}
