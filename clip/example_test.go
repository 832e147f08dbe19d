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
	"sync"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
)

// Tells what two pictures show, with the model that goclip ships. clip.Open reads others.
func Example() {
	ctx := context.Background()
	model, err := clip.OpenFS(models.FS(), models.Default)
	if err != nil {
		log.Fatal(err)
	}
	labels, err := model.Classifier(ctx, []string{"cute dog", "fast car"}, []string{"a {}"})
	if err != nil {
		log.Fatal(err)
	}
	guesses, err := model.Classify(ctx, labels, 1, clip.FromFile("../data/demo/dog.png"), clip.FromFile("../data/demo/racing_car.png"))
	if err != nil {
		log.Fatal(err)
	}
	for _, g := range guesses {
		fmt.Println(labels.Names[g[0].Class], g[0].Probability > 0.8)
	}
	// Output:
	// cute dog true
	// fast car true
}

// Compares a picture with texts: features are plain values, and their dot product is the cosine.
func ExampleModel_EncodeTexts() {
	ctx := context.Background()
	model, err := clip.OpenFS(models.FS(), models.Default)
	if err != nil {
		log.Fatal(err)
	}
	picture, err := model.EncodeImages(ctx, clip.FromFile("../data/demo/dog.png"))
	if err != nil {
		log.Fatal(err)
	}
	texts := []string{"a dog", "a racing car"}
	rows, err := model.EncodeTexts(ctx, texts...)
	if err != nil {
		log.Fatal(err)
	}
	for i, text := range texts {
		cosine := float32(0)
		for j, x := range picture {
			cosine += x * rows[i*len(picture)+j]
		}
		fmt.Println(text, cosine > 0.3)
	}
	// Output:
	// a dog true
	// a racing car false
}

// Answers what an uploaded picture shows. net/http calls the handler from a goroutine for each request; the pictures are
// decoded there, and the model takes them in turn. When a client goes away, its request's context takes it out of the
// queue.
func ExampleModel_Classify_handler() {
	model, err := clip.OpenFS(models.FS(), models.Default)
	if err != nil {
		log.Fatal(err)
	}
	labels, err := model.Classifier(context.Background(), []string{"dog", "racing car", "house"}, []string{"{}", "a picture of a {}"})
	if err != nil {
		log.Fatal(err)
	}
	classify := func(w http.ResponseWriter, r *http.Request) {
		body := http.MaxBytesReader(w, r.Body, 20<<20)
		guesses, err := model.Classify(r.Context(), labels, 1, clip.FromReader(body))
		switch {
		case errors.As(err, new(*clip.ImageError)):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, "the model failed", http.StatusInternalServerError)
		default:
			_ = json.NewEncoder(w).Encode(labels.Names[guesses[0][0].Class]) // a client that is gone needs no answer
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
	// 400 preprocess: not a picture: the file is text; PNG, JPEG, WebP, GIF, BMP and TIFF are read
}

// Encodes many files with a few workers: while the model runs the batch of one, the others read theirs.
func ExampleModel_EncodeImages_workerPool() {
	ctx := context.Background()
	model, err := clip.OpenFS(models.FS(), models.Default)
	if err != nil {
		log.Fatal(err)
	}
	batches := make(chan []clip.ImageSource)
	go func() {
		defer close(batches)
		for range 8 {
			batches <- []clip.ImageSource{clip.FromFile("../data/demo/dog.png"), clip.FromFile("../data/demo/racing_car.png")}
		}
	}()
	var mu sync.Mutex
	var workers sync.WaitGroup
	encoded := 0
	for range 3 {
		workers.Go(func() {
			for batch := range batches {
				rows, err := model.EncodeImages(ctx, batch...)
				if err != nil {
					log.Print(err) // names the file; the other batches go on
					continue
				}
				mu.Lock()
				encoded += len(rows) / model.Config.EmbedDim // a service would store them
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	fmt.Println(encoded, "pictures")
	// Output:
	// 16 pictures
}
