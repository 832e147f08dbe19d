package clip_test

import (
	"context"
	"fmt"
	"log"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
)

// Tells what two pictures show, with the model that goclip ships. clip.Open reads others.
func Example() {
	model, err := clip.OpenFS(models.FS(), models.Default)
	if err != nil {
		log.Fatal(err)
	}
	labels, err := model.Classifier(context.Background(), []string{"cute dog", "fast car"}, []string{"a {}"})
	if err != nil {
		log.Fatal(err)
	}
	rows, err := model.Pictures("../data/demo/dog.png", "../data/demo/racing_car.png")
	if err != nil {
		log.Fatal(err)
	}
	guesses, err := labels.Top(rows, 1)
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
