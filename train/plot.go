package train

import (
	"fmt"
	"image/color"
	"io"

	"github.com/goclip/goclip/internal/disk"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// plotLoss draws a run's losses as a PNG: each step faintly, a running mean over them, and the loss
// of guessing, where it is known, as a dashed line.
func plotLoss(fsys disk.FS, path string, steps []int, losses []float64, chance float64) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "loss", "step", "contrastive loss"
	points, mean := make(plotter.XYs, len(steps)), make(plotter.XYs, len(steps))
	running := 0.0
	for i, step := range steps {
		if i == 0 {
			running = losses[0]
		}
		running += (losses[i] - running) / float64(min(i+1, 25))
		points[i] = plotter.XY{X: float64(step), Y: losses[i]}
		mean[i] = plotter.XY{X: float64(step), Y: running}
	}
	guess := plotter.NewFunction(func(float64) float64 { return chance })
	guess.Dashes, guess.Color = []vg.Length{vg.Points(4), vg.Points(4)}, color.Gray{Y: 128}
	faint, err := plotter.NewLine(points)
	if err != nil {
		return fmt.Errorf("train: plot: %w", err)
	}
	line, err := plotter.NewLine(mean)
	if err != nil {
		return fmt.Errorf("train: plot: %w", err)
	}
	faint.Color, line.Color, line.Width = color.RGBA{R: 160, G: 190, B: 230, A: 255}, color.RGBA{R: 20, G: 80, B: 170, A: 255}, vg.Points(1.5)
	p.Add(plotter.NewGrid())
	if chance > 0 {
		p.Add(guess)
	}
	p.Add(faint, line)
	p.Legend.Top = true
	p.Legend.Add("loss", line)
	if chance > 0 {
		p.Legend.Add("guessing, ln(batch)", guess)
	}
	p.Y.Min = 0
	canvas := vgimg.NewWith(vgimg.UseWH(16*vg.Centimeter, 10*vg.Centimeter), vgimg.UseDPI(120))
	p.Draw(draw.New(canvas))
	return disk.WriteFile(fsys, path, func(w io.Writer) error {
		_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
		return err
	})
}
