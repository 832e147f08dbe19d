package preprocess

import (
	"context"
	"fmt"
)

// Transform is open_clip's evaluation transform: resize, centre crop, convert to RGB, scale to [0,
// 1], normalise; or Hugging Face's, which converts first. It is safe for concurrent use.
type Transform struct {
	cfg   Config
	table normTable
	norm  []float32 // table for the vector unit, or nil
	scale *scaler
	lim   Limits
}

// NewTransform checks cfg. Empty fields take open_clip's defaults.
func NewTransform(cfg Config) (*Transform, error) {
	cfg.fillDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t := &Transform{cfg: cfg, table: newNormTable(cfg.Mean, cfg.Std), scale: new(scaler)}
	t.norm = vectorNorm(cfg.Mean, cfg.Std, &t.table)
	return t, nil
}

// Config returns what t was made from, defaults filled in.
func (t *Transform) Config() Config { return t.cfg }

// WithLimits returns the transform whose Bytes and File decode under lim. It shares t's memory.
func (t *Transform) WithLimits(lim Limits) *Transform {
	other := *t
	other.lim = lim
	return &other
}

func (t *Transform) limits() Limits {
	if t.lim == (Limits{}) {
		return DefaultLimits
	}
	return t.lim
}

// Len returns the length of one result: 3*H*W.
func (t *Transform) Len() int { return 3 * t.cfg.Size[0] * t.cfg.Size[1] }

// Apply writes the normalised image to dst: (3, H, W), len 3*H*W. img is not changed.
func (t *Transform) Apply(dst []float32, img *Image) error {
	if err := checkCall(dst, t.Len(), img); err != nil {
		return err
	}
	b := t.scale.scratch()
	defer t.scale.pool.Put(b)
	t.apply(b, dst, img, place(&t.cfg, img.Width, img.Height))
	return nil
}

func (t *Transform) apply(b *scratch, dst []float32, img *Image, p placement) {
	if t.cfg.Order == OrderHuggingFace {
		img = b.inRGB(img)
	}
	whole := t.cfg.image(b, dst, p)
	defer t.cfg.lay(dst, whole, p)
	if p.needsPadding {
		fillPadding(whole, &t.table, img, p.fill)
	}
	if t.scale.normalised(b, whole, t.norm, img, p) {
		return
	}
	t.scale.resize(b, img, p.x, p.y, p.filter, func(y int, row []uint8) {
		rgb := grow(&b.rgb, 3*p.x.count)
		if img.Mode == ModeRGB {
			rgb = row
		} else {
			rowToRGB(rgb, row, img.Mode, img.Palette)
		}
		t.table.write(whole, p.resW*p.resH, (p.padY+y)*p.resW+p.padX, rgb)
	})
}

// Bytes decodes data under DefaultLimits, or those of WithLimits, and applies t. The decoded pixels
// stay in memory that t keeps and uses again.
func (t *Transform) Bytes(ctx context.Context, dst []float32, data []byte) error {
	_, _, err := t.Sized(ctx, dst, data, "")
	return err
}

// Sized is Bytes for an image of a name, which its errors have, and gives the image's own size
// in pixels besides.
func (t *Transform) Sized(ctx context.Context, dst []float32, data []byte, name string) (width, height int, err error) {
	width, height, err = t.sized(ctx, dst, data)
	return width, height, named(err, name)
}

func (t *Transform) sized(ctx context.Context, dst []float32, data []byte) (width, height int, err error) {
	b := t.scale.scratch()
	defer t.scale.pool.Put(b)
	lim := t.limits()
	var p placement
	planned := false
	lim.part = &b.part
	b.part.plan = func(w, h int) (scale, from, to int) {
		width, height = w, h
		scale, w, h = t.jpegScale(lim, w, h)
		p, planned = place(&t.cfg, w, h), true
		_, from, to = t.scale.weightsOf(p.x, p.filter, false)
		return scale, from, to
	}
	img, err := Decode(ctx, data, lim)
	if err == nil {
		err = checkCall(dst, t.Len(), img)
	}
	if err != nil {
		return 0, 0, err
	}
	if planned {
		p.x.at = -b.part.left
	} else {
		width, height = img.Width, img.Height
		p = place(&t.cfg, width, height)
	}
	t.apply(b, dst, img, p)
	return width, height, nil
}

// jpegScale gives the scale that a w x h JPEG is decoded at, and its size at that scale.
func (t *Transform) jpegScale(lim Limits, w, h int) (scale, sw, sh int) {
	scale = max(lim.JPEGScale, 1)
	if lim.FastJPEG {
		p := place(&t.cfg, w, h)
		for scale = 8; scale > 1 && (w < scale*p.x.out || h < scale*p.y.out); scale /= 2 {
		}
	}
	return scale, (w + scale - 1) / scale, (h + scale - 1) / scale
}

// File reads the image at path and applies t. Errors name the path; a missing file matches
// fs.ErrNotExist.
func (t *Transform) File(ctx context.Context, dst []float32, path string) error {
	data, err := ReadFile(ctx, path, t.limits())
	if err != nil {
		return err
	}
	_, _, err = t.Sized(ctx, dst, data, path)
	return err
}

// DecodeFile reads and decodes the image at path. Errors name the path; a missing file matches
// fs.ErrNotExist.
func DecodeFile(ctx context.Context, path string, lim Limits) (*Image, error) {
	data, err := ReadFile(ctx, path, lim)
	if err != nil {
		return nil, err
	}
	img, err := Decode(ctx, data, lim)
	return img, named(err, path)
}

func checkCall(dst []float32, want int, img *Image) error {
	if len(dst) != want {
		return fmt.Errorf("preprocess: dst has %d values, the result has %d", len(dst), want)
	}
	return img.check()
}

// fillPadding writes the padding colour everywhere. It is a pixel of the file's own mode with every
// channel at fill, as torchvision pads before the conversion: a palette image is padded with its
// entry fill.
func fillPadding(dst []float32, table *normTable, img *Image, fill int) {
	px := make([]uint8, img.Mode.Bytes())
	for i := range px {
		px[i] = uint8(fill)
	}
	switch {
	case img.Mode == ModeI16:
		px[1] = 0
	case img.Mode == Mode1 && fill != 0:
		px[0] = 255
	}
	var rgb [3]uint8
	rowToRGB(rgb[:], px, img.Mode, img.Palette)
	plane := len(dst) / 3
	for c, v := range rgb {
		for i := range plane {
			dst[c*plane+i] = table[c][v]
		}
	}
}

// normTable maps the 256 grey levels of each channel to (v/255 - mean) / std.
type normTable [3][256]float32

func newNormTable(mean, std [3]float32) (t normTable) {
	for c := range t {
		for v := range t[c] {
			t[c][v] = float32(float32(float32(v)/255)-mean[c]) / std[c]
		}
	}
	return t
}

// write puts RGB triples into the three planes of dst, from position at on.
func (t *normTable) write(dst []float32, plane, at int, rgb []uint8) {
	n := len(rgb) / 3
	r, g, b := dst[at:][:n], dst[plane+at:][:n], dst[2*plane+at:][:n]
	for i := range r {
		px := rgb[3*i : 3*i+3 : 3*i+3]
		r[i], g[i], b[i] = t[0][px[0]], t[1][px[1]], t[2][px[2]]
	}
}
