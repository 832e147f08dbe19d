package train

import (
	"fmt"
	"image/color"
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/goclip/goclip/internal/disk"
)

// curve is what loss.png shows, by step.
type curve struct{ losses, rates, validation plotter.XYs }

func (c *curve) add(s Step) {
	c.losses = append(c.losses, plotter.XY{X: float64(s.Step), Y: s.Loss})
	c.rates = append(c.rates, plotter.XY{X: float64(s.Step), Y: s.LR})
}

// evaluated takes the validation loss of the weights that learn, if there is one.
func (c *curve) evaluated(metrics Metrics) {
	_, mixed := metrics["wise_ft"]
	if loss, ok := metrics["clip_val_loss"]; ok && !mixed {
		c.validation = append(c.validation, plotter.XY{X: metrics["step"], Y: loss})
	}
}

var (
	faint  = color.RGBA{R: 160, G: 190, B: 230, A: 255}
	strong = color.RGBA{R: 20, G: 80, B: 170, A: 255}
	other  = color.RGBA{R: 210, G: 100, B: 20, A: 255}
)

// draw writes a PNG: above, the loss of each step, a mean over some steps in its middle, the
// validation loss and, where it is known, chance level; below, the learning rate.
func (c *curve) draw(fsys disk.FS, path string, chance float64) error {
	above, below := plot.New(), plot.New()
	above.Y.Label.Text, below.Y.Label.Text, below.X.Label.Text = "loss", "learning rate", "step"
	above.Legend.Top, above.Y.Min, below.Y.Min = true, 0, 0
	lines := []struct {
		to     *plot.Plot
		name   string
		points plotter.XYs
		style  draw.LineStyle
	}{
		{above, "each step", c.losses, draw.LineStyle{Color: faint, Width: vg.Points(1)}},
		{above, fmt.Sprintf("mean of %d steps around it", c.window()), c.mean(), draw.LineStyle{Color: strong, Width: vg.Points(1.5)}},
		{above, "validation", c.validation, draw.LineStyle{Color: other, Width: vg.Points(1.5)}},
		{above, "chance level", c.level(chance), draw.LineStyle{Color: color.Gray{Y: 128}, Width: vg.Points(1), Dashes: []vg.Length{vg.Points(4), vg.Points(4)}}},
		{below, "", c.rates, draw.LineStyle{Color: strong, Width: vg.Points(1.5)}},
	}
	above.Add(plotter.NewGrid())
	below.Add(plotter.NewGrid())
	for _, l := range lines {
		if len(l.points) == 0 {
			continue
		}
		var line *plotter.Line
		for _, part := range pieces(thin(l.points)) {
			var err error
			if line, err = plotter.NewLine(part); err != nil {
				return fmt.Errorf("train: plot: %w", err)
			}
			line.LineStyle = l.style
			l.to.Add(line)
		}
		if l.name != "" {
			l.to.Legend.Add(l.name, line)
		}
	}
	if len(c.validation) > 0 { // one evaluation makes no line
		dots, err := plotter.NewScatter(thin(c.validation))
		if err != nil {
			return fmt.Errorf("train: plot: %w", err)
		}
		dots.GlyphStyle = draw.GlyphStyle{Color: other, Radius: vg.Points(2), Shape: draw.CircleGlyph{}}
		above.Add(dots)
	}
	above.Y.Max *= 1.3 // room for the legend
	canvas := vgimg.NewWith(vgimg.UseWH(16*vg.Centimeter, 14*vg.Centimeter), vgimg.UseDPI(120))
	column := [][]*plot.Plot{{above}, {below}}
	for i, tile := range plot.Align(column, draw.Tiles{Rows: 2, Cols: 1, PadY: vg.Points(8)}, draw.Crop(draw.New(canvas), vg.Points(4), -vg.Points(10), vg.Points(4), -vg.Points(6))) {
		column[i][0].Draw(tile[0])
	}
	return disk.WriteFile(fsys, path, func(w io.Writer) error {
		_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
		return err
	})
}

// columns is more than the image has of pixels side by side.
const columns = 760

// thin keeps the least and the greatest of each column. The line looks the same, and drawing it takes no longer with more
// steps: it is drawn after each epoch, which may be short.
func thin(points plotter.XYs) plotter.XYs {
	if len(points) <= 2*columns {
		return points
	}
	out := make(plotter.XYs, 0, 2*columns)
	for c := range columns {
		part := points[c*len(points)/columns : (c+1)*len(points)/columns]
		low, high := 0, 0
		for i, p := range part {
			if p.Y < part[low].Y {
				low = i
			}
			if p.Y > part[high].Y {
				high = i
			}
		}
		out = append(out, part[min(low, high)])
		if low != high {
			out = append(out, part[max(low, high)])
		}
	}
	return out
}

// piece is how many points of a line are drawn as one path. The rasteriser looks for each pixel in a list of those that the path
// has in the same row: a line of 2,000 points takes 600 ms as one path and 20 ms in pieces.
const piece = 50

// pieces cuts a line of at least one point. The next one begins with the last point of the one before.
func pieces(points plotter.XYs) (parts []plotter.XYs) {
	for ; len(points) > piece+1; points = points[piece:] {
		parts = append(parts, points[:piece+1])
	}
	return append(parts, points)
}

// window is how many steps the mean is over: a fiftieth of all, and an odd number.
func (c *curve) window() int { return max(len(c.losses)/50, 2)/2*2 + 1 }

// mean is over the steps around each. Where they are not all there, there is none.
func (c *curve) mean() (out plotter.XYs) {
	n := c.window()
	sum := 0.0
	for i, p := range c.losses {
		if sum += p.Y; i >= n {
			sum -= c.losses[i-n].Y
		}
		if i >= n-1 {
			out = append(out, plotter.XY{X: c.losses[i-n/2].X, Y: sum / float64(n)})
		}
	}
	return out
}

// level is a line from the first to the last step; none for 0.
func (c *curve) level(y float64) plotter.XYs {
	if y == 0 {
		return nil
	}
	return plotter.XYs{{X: c.losses[0].X, Y: y}, {X: c.losses[len(c.losses)-1].X, Y: y}}
}
