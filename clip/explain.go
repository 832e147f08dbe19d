package clip

import (
	"context"
	"errors"
	"fmt"
	"image"
	"iter"
	"slices"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// ExplainMethod is how [Model.Explain] finds the places of an image that speak for a text.
type ExplainMethod int

const (
	// ExplainWindows encodes parts of the image by themselves. It works with any image tower and
	// takes as long as encoding some forty images.
	ExplainWindows ExplainMethod = iota
	// ExplainValues compares the text with the values that the image tower's last attention reads at
	// each patch, in one pass ([tower.Localizer].Places).
	ExplainValues
	// ExplainGradient follows the gradient of the cosine through the image tower's attention, or to
	// the last grid of a convolutional tower, in a pass forward and one back
	// ([tower.Localizer].Relevance).
	ExplainGradient
)

var explainMethods = []string{"windows", "values", "gradient"}

// String returns the name that [ParseExplainMethod] reads.
func (m ExplainMethod) String() string {
	if m >= 0 && int(m) < len(explainMethods) {
		return explainMethods[m]
	}
	return fmt.Sprintf("ExplainMethod(%d)", int(m))
}

// ParseExplainMethod reads "windows", "values" or "gradient".
func ParseExplainMethod(name string) (ExplainMethod, error) {
	i := slices.Index(explainMethods, name)
	if i < 0 {
		return 0, fmt.Errorf("clip: %q is not a way to explain: it must be windows, values or gradient", name)
	}
	return ExplainMethod(i), nil
}

// ExplainOptions are the options of [Model.Explain]. The zero value is the default.
type ExplainOptions struct {
	Method ExplainMethod
	Limits preprocess.Limits // of decoding the image
}

// Explanation tells where in an image a text is.
type Explanation struct {
	// Map is what each place of a grid says for the text, row by row from the top: a cosine, or with
	// ExplainGradient the part of the cosine's rise that came from there. Only numbers of one map can
	// be compared.
	Map    [][]float64
	Cosine float64 // of the whole image with the text
	// Size is the image's width and height in pixels, and Region the part of it that the model sees,
	// which the map covers: x0, y0, x1, y1. It goes beyond the image where the transform pads it.
	Size   [2]int
	Region [4]float64
}

// Explain tells where in an image the text is. Without retraining no method is sure: docs/explain.md
// compares them. The error matches ErrUnsupported where the image tower does not know the method. It
// may be called from any number of goroutines.
func (m *Model) Explain(ctx context.Context, source ImageSource, text string, o *ExplainOptions) (*Explanation, error) {
	if o == nil {
		o = new(ExplainOptions)
	}
	if _, err := ParseExplainMethod(o.Method.String()); err != nil {
		return nil, err
	}
	rows, err := m.EncodeTexts(ctx, text)
	if err != nil {
		return nil, err
	}
	img, err := source.Decode(ctx, o.Limits)
	if err != nil {
		return nil, err
	}
	transform, err := m.Transform()
	if err != nil {
		return nil, err
	}
	e := &Explanation{Size: [2]int{img.Width, img.Height}}
	e.Region[0], e.Region[1], e.Region[2], e.Region[3] = transform.Seen(img.Width, img.Height)
	if o.Method == ExplainWindows {
		return e, m.explainByWindows(ctx, e, img, rows[0])
	}
	pixels := make([]float32, transform.Len())
	if err := transform.Apply(pixels, img); err != nil {
		return nil, err
	}
	err = m.inTurn(ctx, func() error { return m.explainByTower(e, pixels, rows[0], o.Method) })
	if err != nil {
		return nil, err
	}
	return e, nil
}

// explainByTower fills in Map and Cosine of an image's normalised pixels by what the tower tells.
func (m *Model) explainByTower(e *Explanation, pixels, text []float32, how ExplainMethod) error {
	visual, ok := m.Visual.(tower.Localizer)
	if !ok {
		return marked{fmt.Errorf("clip: %s: its image tower, a %s, cannot explain by %s; windows work with any", m.Name, towerName(m.Visual), how), ErrUnsupported}
	}
	size := m.Config.Vision.PixelSize()
	run := torch.NoGrad
	if how == ExplainGradient {
		run = torch.Do
	}
	err := run(func(s *torch.Scope) {
		x := torch.FromSlice(s, pixels, 1, 3, size.Height, size.Width).To(m.Device(), m.dtype())
		t := torch.FromSlice(s, text, len(text), 1).To(m.Device(), torch.Float32)
		cosine := func(features *torch.Tensor) *torch.Tensor { // (..., E) -> (..., 1)
			return features.To(m.Device(), torch.Float32).Normalize(-1).MatMul(t)
		}
		var places *torch.Tensor
		if how == ExplainValues {
			places = cosine(visual.Places(x)).Squeeze(-1)
			e.Cosine = cosine(m.EncodeImage(x)).Item()
		} else {
			places = visual.Relevance(x, func(feature *torch.Tensor) *torch.Tensor {
				c := cosine(feature).Sum()
				e.Cosine = c.Item()
				return c
			})
		}
		columns := places.Size(1)
		for row := range slices.Chunk(torch.ToSlice[float32](places.To(torch.CPU, torch.Float32)), columns) {
			line := make([]float64, columns)
			for i, v := range row {
				line[i] = float64(v)
			}
			e.Map = append(e.Map, line)
		}
	})
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return nil
}

// The windows that explain: squares of these fractions of the region's side, each moved by a half
// or less of its side, on a grid that their edges meet.
const windowGrid = 24 // cells on a side of the map

var windowSizes = []struct{ side, step int }{{12, 4}, {8, 4}} // in cells: 16 windows and 25

// window is a part of the map, in cells.
type window struct{ x, y, side int }

func windows(size struct{ side, step int }) (list []window) {
	for y := 0; y+size.side <= windowGrid; y += size.step {
		for x := 0; x+size.side <= windowGrid; x += size.step {
			list = append(list, window{x, y, size.side})
		}
	}
	return list
}

// explainByWindows encodes the region and windows of it. A place says the mean cosine of the windows
// of one size that cover it, and of the sizes the mean.
func (m *Model) explainByWindows(ctx context.Context, e *Explanation, img *preprocess.Image, text []float32) error {
	full := goImage(img)
	part := func(x0, y0, x1, y1 float64) ImageSource { // in cells
		w, h := (e.Region[2]-e.Region[0])/windowGrid, (e.Region[3]-e.Region[1])/windowGrid
		r := image.Rect(int(e.Region[0]+x0*w+.5), int(e.Region[1]+y0*h+.5), int(e.Region[0]+x1*w+.5), int(e.Region[1]+y1*h+.5)).Intersect(full.Rect)
		return FromImage(full.SubImage(r))
	}
	var all []window
	var parts iter.Seq[ImageSource] = func(yield func(ImageSource) bool) {
		if !yield(part(0, 0, windowGrid, windowGrid)) {
			return
		}
		for _, w := range all {
			if !yield(part(float64(w.x), float64(w.y), float64(w.x+w.side), float64(w.y+w.side))) {
				return
			}
		}
	}
	for _, size := range windowSizes {
		all = append(all, windows(size)...)
	}
	cosines := make([]float64, 0, 1+len(all))
	for row, err := range m.EncodeImageSeq(ctx, parts) {
		switch at := len(cosines) - 1; {
		case err == nil:
			cosines = append(cosines, Cosine(row, text))
		case errors.As(err, new(*ImageError)) && at >= 0: // an empty window, in what pads the image
			cosines = append(cosines, cosines[0])
		default:
			return err
		}
	}
	e.Cosine, cosines = cosines[0], cosines[1:]
	e.Map = make([][]float64, windowGrid)
	for y := range e.Map {
		e.Map[y] = make([]float64, windowGrid)
		for x := range e.Map[y] {
			e.Map[y][x] = covered(all, cosines, x, y)
		}
	}
	return nil
}

// covered is the mean over the sizes of the mean over the windows that cover a cell.
func covered(all []window, cosines []float64, x, y int) (mean float64) {
	for _, size := range windowSizes {
		sum, n := 0.0, 0
		for i, w := range all {
			if w.side == size.side && w.x <= x && x < w.x+w.side && w.y <= y && y < w.y+w.side {
				sum, n = sum+cosines[i], n+1
			}
		}
		mean += sum / float64(n*len(windowSizes))
	}
	return mean
}

// goImage has the pixels that the model is shown, without what would show through.
func goImage(img *preprocess.Image) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, img.Width, img.Height))
	for i, rgb := 0, img.RGB().Pix; 3*i < len(rgb); i++ {
		copy(out.Pix[4*i:], rgb[3*i:3*i+3])
		out.Pix[4*i+3] = 255
	}
	return out
}
