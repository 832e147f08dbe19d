package train_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train"
	"github.com/goclip/goclip/train/data"
)

// A directory's model is fine-tuned on a table of files and captions. The loop may be left, or the
// context end, at any step: Resume continues from there.
func ExampleNew() {
	ctx := context.Background()
	m, err := clip.Open(ctx, "models/ViT-B-32", &clip.OpenOptions{Copy: true})
	if err != nil {
		log.Fatal(err)
	}
	set, err := data.Open(ctx, "photos.csv", nil)
	if err != nil {
		log.Fatal(err)
	}
	t, err := train.New(m, set, &train.Config{Epochs: 5, Dir: "runs/photos"})
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	for step, err := range t.Steps(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(step.Step, step.Loss)
	}
}

// A run continues where it was, or begins if it was stopped before its first checkpoint.
func ExampleResume() {
	ctx := context.Background()
	set, err := data.Open(ctx, "photos.csv", nil)
	if err != nil {
		log.Fatal(err)
	}
	t, err := train.Resume(ctx, "runs/photos", set, nil)
	if errors.Is(err, train.ErrNoCheckpoint) {
		log.Fatal("begin with New")
	} else if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	if err := t.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
