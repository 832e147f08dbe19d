// Command handler answers what an uploaded image shows:
//
//	handler 127.0.0.1:8080
//	curl --data-binary @data/demo/dog.png http://127.0.0.1:8080/
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
)

// classify is safe for many requests at once: images are decoded side by side, and the model takes them in turn. When a
// client goes away, its request's context takes it out of the queue.
func classify(model *clip.Model, labels *clip.Classifier) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		predictions, err := model.Classify(r.Context(), labels, 1, clip.FromReader(http.MaxBytesReader(w, r.Body, 20<<20)))
		switch {
		case errors.As(err, new(*clip.ImageError)):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, "the model failed", http.StatusInternalServerError)
		default:
			best := predictions[0][0]
			_ = json.NewEncoder(w).Encode(map[string]any{"label": labels.Names[best.Class], "probability": best.Probability})
		}
	}
}

func main() {
	ctx := context.Background()
	model, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	if err != nil {
		log.Fatal(err)
	}
	labels, err := model.Classifier(ctx, []string{"dog", "racing car", "house"}, "{}", "a picture of a {}")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(os.Args[1], classify(model, labels)))
}
