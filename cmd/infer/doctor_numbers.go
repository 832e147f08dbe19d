package main

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"math"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
)

// selfCheck is the built-in model on a drawn image and two texts, beside what open_clip makes of
// the same.
type selfCheck struct {
	Cosines    []float64 `json:"cosines,omitempty"`
	Difference float64   `json:"difference"` // the largest
	Millis     float64   `json:"milliseconds"`
	Error      string    `json:"error,omitempty"`
}

func (s selfCheck) String() string {
	switch {
	case s.Error != "":
		return s.Error
	case s.Cosines == nil:
		return "not run"
	default:
		return fmt.Sprintf("the built-in model's cosines differ by %.1g from open_clip's; %.0f ms with reading it", s.Difference, s.Millis)
	}
}

// The texts of the self-check and their cosines with checkImage by open_clip 3.3.0
// (testdata/clip/make_selfcheck.py).
var (
	checkTexts   = []string{"a rainbow", "a racing car"}
	checkCosines = []float64{0.20003739, -0.17796578}
)

// checkTolerance is far beyond rounding, TF32's too, and far below what any fault makes.
const checkTolerance = 2e-3

// checkImage is 64 pixels square, as the model takes it: red to the right, green downwards, blue
// along the diagonal.
func checkImage() image.Image {
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for y := range 64 {
		for x := range 64 {
			img.SetRGBA(x, y, color.RGBA{uint8(4 * x), uint8(4 * y), uint8(2 * (x + y)), 255})
		}
	}
	return img
}

// checkNumbers computes on the device, so that libraries that load and yet do not work are found.
func (d *diagnosis) checkNumbers(device torch.Device) {
	began := time.Now()
	cosines, err := shippedCosines(device)
	s := selfCheck{Cosines: cosines, Millis: float64(time.Since(began).Microseconds()) / 1000}
	for i, c := range cosines {
		s.Difference = max(s.Difference, math.Abs(c-checkCosines[i]))
	}
	if err != nil {
		s.Error = message(err)
		d.wrong("the built-in model cannot be run on %s (%v): reinstall libtorch, or choose another --device", device, err)
	} else if !(s.Difference < checkTolerance) {
		d.wrong("the built-in model computes %.4f on %s where %.4f is right: the processor, the memory or libtorch is at fault; try --device cpu, then reinstall libtorch", cosines, device, checkCosines)
	}
	d.SelfCheck = s
}

func shippedCosines(device torch.Device) ([]float64, error) {
	ctx := context.Background()
	m, err := clip.OpenFS(ctx, models.FS(), models.Default, &clip.OpenOptions{Device: device})
	if err != nil {
		return nil, err
	}
	s, err := m.Score(ctx, []clip.ImageSource{clip.FromImage(checkImage())}, checkTexts)
	if err != nil {
		return nil, err
	}
	return s.Cosine[0], nil
}
