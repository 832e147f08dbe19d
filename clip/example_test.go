package clip_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
)

// Tells what two images show, with the model that goclip ships. clip.Open reads others.
func Example() {
	ctx := context.Background()
	model, err := clip.OpenFS(context.Background(), models.FS(), models.Default, nil)
	if err != nil {
		log.Fatal(err)
	}
	labels, err := model.Classifier(ctx, []string{"cute dog", "fast car"}, "a {}")
	if err != nil {
		log.Fatal(err)
	}
	predictions, err := model.Classify(ctx, labels, 1, clip.FromFile("../data/demo/dog.png"), clip.FromFile("../data/demo/racing_car.png"))
	if err != nil {
		log.Fatal(err)
	}
	for _, g := range predictions {
		fmt.Println(labels.Names[g[0].Class], g[0].Probability > 0.8)
	}
	// Output:
	// cute dog true
	// fast car true
}

// Compares an image with texts.
func ExampleModel_Score() {
	ctx := context.Background()
	model, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	if err != nil {
		log.Fatal(err)
	}
	scores, err := model.Score(ctx, []clip.ImageSource{clip.FromFile("../data/demo/dog.png")}, []string{"a dog", "a racing car"})
	if err != nil {
		log.Fatal(err)
	}
	for i, text := range []string{"a dog", "a racing car"} {
		fmt.Println(text, scores.Cosine[0][i] > 0.3)
	}
	// Output:
	// a dog true
	// a racing car false
}

// Answers what an uploaded image shows. net/http calls the handler from a goroutine for each request; the images are
// decoded there, and the model takes them in turn. When a client goes away, its request's context takes it out of the
// queue.
func ExampleModel_Classify_handler() {
	model, err := clip.OpenFS(context.Background(), models.FS(), models.Default, nil)
	if err != nil {
		log.Fatal(err)
	}
	labels, err := model.Classifier(context.Background(), []string{"dog", "racing car", "house"}, "{}", "a picture of a {}")
	if err != nil {
		log.Fatal(err)
	}
	classify := func(w http.ResponseWriter, r *http.Request) {
		body := http.MaxBytesReader(w, r.Body, 20<<20)
		predictions, err := model.Classify(r.Context(), labels, 1, clip.FromReader(body))
		switch {
		case errors.As(err, new(*clip.ImageError)):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, "the model failed", http.StatusInternalServerError)
		default:
			_ = json.NewEncoder(w).Encode(labels.Names[predictions[0][0].Class]) // a client that is gone needs no answer
		}
	}

	server := httptest.NewServer(http.HandlerFunc(classify))
	defer server.Close()
	for _, path := range []string{"../data/demo/dog.png", "../data/demo/racing_car.png", "example_test.go"} {
		data, err := os.ReadFile(path)
		if err != nil {
			log.Fatal(err)
		}
		answer, err := http.Post(server.URL, "image/png", bytes.NewReader(data))
		if err != nil {
			log.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(answer.StatusCode, " ", string(text))
	}
	// Output:
	// 200 "dog"
	// 200 "racing car"
	// 400 preprocess: not an image: the file is text; PNG, JPEG, WebP, GIF, BMP and TIFF are read
}

// Encodes many files: the next ones are decoded while the model runs, and one that cannot be read does not stop the
// others.
func ExampleModel_EncodeImageSeq() {
	ctx := context.Background()
	model, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	if err != nil {
		log.Fatal(err)
	}
	files := func(yield func(clip.ImageSource) bool) {
		for _, name := range []string{"../data/demo/dog.png", "example_test.go", "../data/demo/racing_car.png"} {
			if !yield(clip.FromFile(name)) {
				return
			}
		}
	}
	for row, err := range model.EncodeImageSeq(ctx, files) {
		var bad *clip.ImageError
		switch {
		case errors.As(err, &bad):
			fmt.Printf("image %d cannot be read\n", bad.Index)
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println(len(row), "numbers")
		}
	}
	// Output:
	// 128 numbers
	// image 1 cannot be read
	// 128 numbers
}
