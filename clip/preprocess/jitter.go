package preprocess

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// jitterRange holds the ranges from which torchvision's ColorJitter draws its factors.
type jitterRange struct {
	lo, hi [4]float64 // brightness, contrast, saturation, hue
	active [4]bool
}

func newJitterRange(amounts []float64) (r jitterRange, err error) {
	if len(amounts) != 4 {
		return r, fmt.Errorf("preprocess: color_jitter has %d numbers; it needs four: brightness, contrast, "+
			"saturation, hue", len(amounts))
	}
	for i, v := range amounts {
		if !(v >= 0) || math.IsInf(v, 0) || (i == 3 && v > 0.5) {
			return r, fmt.Errorf("preprocess: color_jitter %v must not be negative, and hue at most 0.5", amounts)
		}
		r.active[i] = v > 0
		if i == 3 {
			r.lo[i], r.hi[i] = -v, v
		} else {
			r.lo[i], r.hi[i] = max(0, 1-v), 1+v
		}
	}
	return r, nil
}

// jitter is one draw: the four changes in their order, with their factors.
type jitter struct {
	order  [4]int // 0 brightness, 1 contrast, 2 saturation, 3 hue
	factor [4]float64
	active [4]bool
}

func (r *jitterRange) draw(rng *rand.Rand) jitter {
	j := jitter{active: r.active}
	copy(j.order[:], rng.Perm(4))
	for i := range j.factor {
		if r.active[i] {
			// PyTorch draws single-precision numbers.
			j.factor[i] = float64(float32(uniform(rng, r.lo[i], r.hi[i])))
		}
	}
	return j
}

// apply changes RGB triples in place.
func (j *jitter) apply(rgb []uint8) {
	for _, what := range j.order {
		if !j.active[what] {
			continue
		}
		switch f := j.factor[what]; what {
		case 0:
			adjustBrightness(rgb, f)
		case 1:
			adjustContrast(rgb, f)
		case 2:
			adjustSaturation(rgb, f)
		case 3:
			adjustHue(rgb, f)
		}
	}
}

// blend is one value of Pillow's ImagingBlend: from a towards b by factor f, in single precision, cut off.
func blend(a, b uint8, f float32) uint8 {
	switch f {
	case 0:
		return a
	case 1:
		return b
	}
	v := float32(a) + float32(f*float32(int(b)-int(a)))
	return uint8(max(min(v, 255), 0))
}

// blendTable applies blend from one grey level to all values.
func blendTable(rgb []uint8, from uint8, f float32) {
	var table [256]uint8
	for v := range table {
		table[v] = blend(from, uint8(v), f)
	}
	for i, v := range rgb {
		rgb[i] = table[v]
	}
}

// adjustBrightness is Pillow's ImageEnhance.Brightness: a blend with black.
func adjustBrightness(rgb []uint8, f float64) { blendTable(rgb, 0, float32(f)) }

// adjustContrast is Pillow's ImageEnhance.Contrast: a blend with the image's mean grey.
func adjustContrast(rgb []uint8, f float64) {
	sum := 0
	for i := 0; i+2 < len(rgb); i += 3 {
		sum += int(luma(rgb[i], rgb[i+1], rgb[i+2]))
	}
	mean := uint8(float64(sum)/float64(len(rgb)/3) + 0.5)
	blendTable(rgb, mean, float32(f))
}

// adjustSaturation is Pillow's ImageEnhance.Color: a blend with the grey image.
func adjustSaturation(rgb []uint8, f float64) {
	f32 := float32(f)
	for i := 0; i+2 < len(rgb); i += 3 {
		px := rgb[i : i+3 : i+3]
		g := luma(px[0], px[1], px[2])
		px[0], px[1], px[2] = blend(g, px[0], f32), blend(g, px[1], f32), blend(g, px[2], f32)
	}
}

// toGrey is torchvision's Grayscale(num_output_channels=3).
func toGrey(rgb []uint8) {
	for i := 0; i+2 < len(rgb); i += 3 {
		px := rgb[i : i+3 : i+3]
		g := luma(px[0], px[1], px[2])
		px[0], px[1], px[2] = g, g, g
	}
}

// adjustHue is torchvision's adjust_hue: the hue byte of Pillow's HSV moves round its circle of 256 steps.
func adjustHue(rgb []uint8, f float64) {
	shift := uint8(int32(f * 255))
	for i := 0; i+2 < len(rgb); i += 3 {
		px := rgb[i : i+3 : i+3]
		h, s, v := toHSV(px[0], px[1], px[2])
		px[0], px[1], px[2] = fromHSV(h+shift, s, v)
	}
}
