package data_test

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"math/rand/v2"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

// swatches is a data set of one's own: squares of a colour, and the colour's name.
type swatches []struct {
	name   string
	colour color.RGBA
}

func (s swatches) Len() int { return len(s) }

func (s swatches) Sample(_ context.Context, i int) (data.Sample, error) {
	img := image.NewRGBA(image.Rect(0, 0, 32, 32))
	for at := range img.Pix {
		img.Pix[at] = []uint8{s[i].colour.R, s[i].colour.G, s[i].colour.B, 255}[at%4]
	}
	texts := []string{s[i].name, "a " + s[i].name + " square"}
	return data.Sample{Image: preprocess.FromImage(img), Texts: texts, ID: s[i].name}, nil
}

// A Dataset is Len and Sample; the loader does the rest.
func ExampleDataset() {
	set := swatches{
		{"red", color.RGBA{R: 255}}, {"green", color.RGBA{G: 255}},
		{"blue", color.RGBA{B: 255}}, {"black", color.RGBA{}},
	}
	transform, err := preprocess.NewTransform(preprocess.DefaultConfig(16))
	if err != nil {
		panic(err)
	}
	loader, err := data.NewLoader(set, &data.LoaderOptions{
		BatchSize: 2, Workers: 4, Seed: 1, Shuffle: true, DrawCaption: true, Pixels: transform.Len(),
		Transform: func(pixels []float32, img *preprocess.Image, _ *rand.Rand) error {
			return transform.Apply(pixels, img)
		},
	})
	if err != nil {
		panic(err)
	}
	for batch, err := range loader.Epoch(context.Background(), 0, 0) {
		if err != nil {
			panic(err)
		}
		for i := range batch.N {
			fmt.Println(batch.Index, batch.Texts[i][batch.Captions[i]])
		}
	}
	// Output:
	// 0 a green square
	// 0 blue
	// 1 red
	// 1 black
}
