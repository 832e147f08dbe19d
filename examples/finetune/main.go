// Command finetune teaches the built-in model the PNG images of a folder, whose captions are their names, and saves it:
//
//	finetune data/demo tuned
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/train"
)

type photos []string // paths

func (p photos) Len() int { return len(p) }

func (p photos) Sample(_ context.Context, i int) (train.Sample, error) {
	caption := strings.TrimSuffix(filepath.Base(p[i]), ".png")
	return train.Sample{Image: clip.FromFile(p[i]), Texts: []string{strings.ReplaceAll(caption, "_", " ")}}, nil
}

func main() {
	ctx := context.Background()
	model, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	fatal(err)
	paths, _ := filepath.Glob(filepath.Join(os.Args[1], "*.png"))
	trainer, err := train.New(model, photos(paths), &train.Config{BatchSize: 2, Epochs: 3})
	fatal(err)
	for step, err := range trainer.Steps(ctx) {
		fatal(err)
		fmt.Printf("step %d loss %.4f learning rate %.2g\n", step.Step, step.Loss, step.LR)
	}
	fatal(model.Save(os.Args[2]))
	fatal(trainer.Close())
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
