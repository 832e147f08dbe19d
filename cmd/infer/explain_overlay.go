package main

import (
	"bytes"
	"image/color"
	"image/png"
	"math"

	"github.com/disintegration/imaging"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
)

// overlaySide bounds the overlay: a map is coarse.
const overlaySide = 1024

// dimmest is how much of a pixel's brightness is left where the map is lowest.
const dimmest = 0.2

// overlayPNG is the image with its map: as it is where the map is highest, grey and dark where it is
// lowest or where the model does not look.
func overlayPNG(img *preprocess.Image, e *clip.Explanation) ([]byte, error) {
	picture := imaging.Fit(nrgba(img), overlaySide, overlaySide, imaging.Box)
	low, high := math.Inf(1), math.Inf(-1)
	for _, row := range e.Map {
		for _, v := range row {
			low, high = min(low, v), max(high, v)
		}
	}
	scaleX := float64(e.Size[0]) / float64(picture.Rect.Dx()) // pixels of the image for one of the overlay
	scaleY := float64(e.Size[1]) / float64(picture.Rect.Dy())
	for y := range picture.Rect.Dy() {
		for x := range picture.Rect.Dx() {
			u := ((float64(x)+.5)*scaleX - e.Region[0]) / (e.Region[2] - e.Region[0])
			v := ((float64(y)+.5)*scaleY - e.Region[1]) / (e.Region[3] - e.Region[1])
			share := 0.0
			if u >= 0 && u < 1 && v >= 0 && v < 1 && high > low {
				share = (interpolated(e.Map, u, v) - low) / (high - low)
			}
			picture.SetNRGBA(x, y, faded(picture.NRGBAAt(x, y), share))
		}
	}
	var b bytes.Buffer
	err := png.Encode(&b, picture)
	return b.Bytes(), err
}

// faded mixes a colour with its own grey, darkened.
func faded(c color.NRGBA, share float64) color.NRGBA {
	grey := float64(color.GrayModel.Convert(color.NRGBA{c.R, c.G, c.B, 255}).(color.Gray).Y) * dimmest
	mix := func(x uint8) uint8 { return uint8(share*float64(x) + (1-share)*grey + .5) }
	return color.NRGBA{mix(c.R), mix(c.G), mix(c.B), c.A}
}

// interpolated is the map at u, v in [0, 1) by bilinear interpolation between the middles of its
// cells.
func interpolated(m [][]float64, u, v float64) float64 {
	at := func(t float64, n int) (i, j int, share float64) {
		t = min(max(t*float64(n)-.5, 0), float64(n-1))
		i = int(t)
		return i, min(i+1, n-1), t - float64(i)
	}
	x0, x1, p := at(u, len(m[0]))
	y0, y1, q := at(v, len(m))
	return (1-q)*((1-p)*m[y0][x0]+p*m[y0][x1]) + q*((1-p)*m[y1][x0]+p*m[y1][x1])
}
