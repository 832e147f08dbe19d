package preprocess

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// AugConfig is the part of open_clip's --aug-cfg that acts without timm. The zero value is open_clip's default.
type AugConfig struct {
	Scale           [2]float64 // fraction of the area that a crop keeps; zero: 0.9 to 1
	Ratio           [2]float64 // width/height of a crop; zero: 3/4 to 4/3
	ColorJitter     []float64  // brightness, contrast, saturation, hue; nil or four
	ColorJitterProb float64    // fraction of images that are jittered
	GrayScaleProb   float64    // fraction of images that turn grey
}

// TrainTransform is open_clip's training transform: a random crop resized to the model's size (bicubic, whatever
// Config.Interpolation says), RGB, at chance colour jitter and grey, normalised. It is safe for concurrent use.
type TrainTransform struct {
	cfg    Config
	aug    AugConfig
	jitter jitterRange
	table  normTable
	norm   []float32 // table for the vector unit, or nil
	scale  scaler
}

// NewTrainTransform checks both configurations. Empty fields take open_clip's defaults.
func NewTrainTransform(cfg Config, aug AugConfig) (*TrainTransform, error) {
	cfg.fillDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if aug.Scale == [2]float64{} {
		aug.Scale = [2]float64{0.9, 1}
	}
	if aug.Ratio == [2]float64{} {
		aug.Ratio = [2]float64{3.0 / 4, 4.0 / 3}
	}
	for _, r := range []struct {
		name string
		v    [2]float64
		most float64
	}{{"scale", aug.Scale, 1}, {"ratio", aug.Ratio, math.MaxFloat32}} {
		if !(r.v[0] > 0 && r.v[0] <= r.v[1] && r.v[1] <= r.most) {
			return nil, fmt.Errorf("preprocess: %s %v must be positive, the smaller number first", r.name, r.v)
		}
	}
	for _, p := range []struct {
		name string
		v    float64
	}{{"color_jitter_prob", aug.ColorJitterProb}, {"gray_scale_prob", aug.GrayScaleProb}} {
		if !(p.v >= 0 && p.v <= 1) {
			return nil, fmt.Errorf("preprocess: %s %v is not between 0 and 1", p.name, p.v)
		}
	}
	t := &TrainTransform{cfg: cfg, aug: aug, table: newNormTable(cfg.Mean, cfg.Std)}
	t.norm = vectorNorm(cfg.Mean, cfg.Std, &t.table)
	if aug.ColorJitterProb > 0 {
		j, err := newJitterRange(aug.ColorJitter)
		if err != nil {
			return nil, err
		}
		t.jitter = j
	}
	return t, nil
}

// Config returns what t was made from, defaults filled in.
func (t *TrainTransform) Config() Config { return t.cfg }

// Len returns the length of one result: 3*H*W.
func (t *TrainTransform) Len() int { return 3 * t.cfg.Size[0] * t.cfg.Size[1] }

// Apply writes one random view of img to dst: (3, H, W), len 3*H*W. The view depends on rng and img alone, so equal
// generators give equal views. The distribution is open_clip's; the stream of random numbers is not PyTorch's.
func (t *TrainTransform) Apply(dst []float32, img *Image, rng *rand.Rand) error {
	if err := checkCall(dst, t.Len(), img); err != nil {
		return err
	}
	v := t.draw(img.Width, img.Height, rng)
	b := t.scale.scratch()
	defer t.scale.pool.Put(b)
	p := t.place(v.crop)
	whole := t.cfg.image(b, dst, p)
	if v.jitter != nil || v.grey || !t.scale.normalised(b, whole, t.norm, img, p) {
		t.table.write(whole, p.resH*p.resW, 0, t.render(b, img, v))
	}
	t.cfg.lay(dst, whole, p)
	return nil
}

// view is one draw of the random choices.
type view struct {
	crop   crop
	jitter *jitter // nil: none
	grey   bool
}

func (t *TrainTransform) draw(w, h int, rng *rand.Rand) view {
	ratio := t.aug.Ratio
	if t.cfg.ResizeMode == Patches { // which keeps an image's shape, so the crop does too
		shape := float64(w) / float64(h)
		ratio[0], ratio[1] = ratio[0]*shape, ratio[1]*shape
	}
	v := view{crop: randomCrop(w, h, t.aug.Scale, ratio, rng)}
	if t.aug.ColorJitterProb > 0 && rng.Float64() < t.aug.ColorJitterProb {
		j := t.jitter.draw(rng)
		v.jitter = &j
	}
	if t.aug.GrayScaleProb > 0 {
		v.grey = rng.Float64() < t.aug.GrayScaleProb
	}
	return v
}

// render gives the (H, W, 3) bytes of a view, in b's memory.
func (t *TrainTransform) render(b *scratch, img *Image, v view) []uint8 {
	if t.cfg.Order == OrderHuggingFace {
		img = b.inRGB(img)
	}
	p := t.place(v.crop)
	rgb := grow(&b.rgb, 3*p.resH*p.resW)
	t.scale.resize(b, img, p.x, p.y, p.filter, func(i int, row []uint8) {
		rowToRGB(rgb[3*i*p.resW:][:3*p.resW], row, img.Mode, img.Palette)
	})
	if v.jitter != nil {
		v.jitter.apply(rgb)
	}
	if v.grey {
		toGrey(rgb)
	}
	return rgb
}

// place lays a crop over the whole result.
func (t *TrainTransform) place(c crop) placement {
	h, w := t.cfg.Size[0], t.cfg.Size[1]
	if t.cfg.ResizeMode == Patches {
		w, h = t.cfg.flexibleSize(c.w, c.h)
	}
	return placement{x: span{at: c.x, in: c.w, out: w, count: w}, y: span{at: c.y, in: c.h, out: h, count: h},
		filter: bicubic, resW: w, resH: h}
}

// crop is a rectangle of source pixels.
type crop struct{ x, y, w, h int }

// randomCrop is torchvision's RandomResizedCrop.get_params: ten tries at an area and a shape (uniform in the
// logarithm), then the largest centred crop of a permitted shape.
func randomCrop(w, h int, scale, ratio [2]float64, rng *rand.Rand) crop {
	area := float64(w) * float64(h)
	lo, hi := math.Log(ratio[0]), math.Log(ratio[1])
	for range 10 {
		target := area * uniform(rng, scale[0], scale[1])
		aspect := math.Exp(uniform(rng, lo, hi))
		cw := int(math.RoundToEven(math.Sqrt(target * aspect)))
		ch := int(math.RoundToEven(math.Sqrt(target / aspect)))
		if cw > 0 && cw <= w && ch > 0 && ch <= h {
			y := rng.IntN(h - ch + 1)
			x := rng.IntN(w - cw + 1)
			return crop{x, y, cw, ch}
		}
	}
	return centralCrop(w, h, ratio)
}

// centralCrop is the fallback of RandomResizedCrop. A side never falls below one pixel.
func centralCrop(w, h int, ratio [2]float64) crop {
	cw, ch := w, h
	switch shape := float64(w) / float64(h); {
	case shape < ratio[0]:
		ch = max(int(math.RoundToEven(float64(w)/ratio[0])), 1)
	case shape > ratio[1]:
		cw = max(int(math.RoundToEven(float64(h)*ratio[1])), 1)
	}
	return crop{(w - cw) / 2, (h - ch) / 2, cw, ch}
}

func uniform(rng *rand.Rand, lo, hi float64) float64 { return lo + (hi-lo)*rng.Float64() }
