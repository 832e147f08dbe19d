package preprocess_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"

	"github.com/goclip/goclip/clip/preprocess"
)

// redImage is a PNG of 40x30 red pixels.
func redImage() []byte {
	m := image.NewRGBA(image.Rect(0, 0, 40, 30))
	for i := range 40 * 30 {
		m.Set(i%40, i/40, color.RGBA{255, 0, 0, 255})
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, m); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func Example() {
	t, err := preprocess.NewTransform(preprocess.DefaultConfig(224))
	if err != nil {
		panic(err)
	}
	pixels := make([]float32, t.Len()) // (3, 224, 224)
	if err := t.Bytes(context.Background(), pixels, redImage()); err != nil {
		panic(err)
	}
	fmt.Printf("red %.4f, green %.4f, blue %.4f\n", pixels[0], pixels[224*224], pixels[2*224*224])
	// Output: red 1.9303, green -1.7521, blue -1.4802
}

func ExampleDecode_limits() {
	_, err := preprocess.Decode(context.Background(), redImage(), preprocess.Limits{MaxPixels: 1000})
	fmt.Println(err)
	fmt.Println(errors.Is(err, preprocess.ErrTooLarge))
	// Output:
	// preprocess: 40x30 pixels is more than the limit of 1000; shrink it or raise MaxPixels
	// true
}

func ExampleTrainTransform() {
	t, err := preprocess.NewTrainTransform(preprocess.DefaultConfig(64), preprocess.AugConfig{
		Scale: [2]float64{0.5, 1}, ColorJitter: []float64{0.2, 0.2, 0.2, 0}, ColorJitterProb: 0.8})
	if err != nil {
		panic(err)
	}
	img, err := preprocess.Decode(context.Background(), redImage(), preprocess.DefaultLimits)
	if err != nil {
		panic(err)
	}
	pixels := make([]float32, t.Len())
	rng := rand.New(rand.NewPCG(1, 2)) // one per worker, seeded per sample where runs must repeat
	if err := t.Apply(pixels, img, rng); err != nil {
		panic(err)
	}
	fmt.Println(img.Mode, len(pixels))
	// Output: RGB 12288
}
