// Command search embeds the images of a folder and prints the one that is nearest to a text:
//
//	search data/demo "a racing car"
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
)

func main() {
	ctx := context.Background()
	model, err := clip.OpenFS(ctx, models.FS(), models.Default, nil) // or clip.Open(ctx, "ViT-B-32:openai", nil)
	if err != nil {
		log.Fatal(err)
	}
	text, err := model.EncodeTexts(ctx, os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	paths, _ := filepath.Glob(filepath.Join(os.Args[1], "*"))
	nearest, best, i := "", -1.0, 0
	for row, err := range model.EncodeImageSeq(ctx, clip.FromFiles(paths...)) {
		if err != nil {
			log.Print(err) // a file that cannot be read does not stop the others
		} else if cosine := clip.Cosine(row, text[0]); cosine > best {
			nearest, best = paths[i], cosine
		}
		i++
	}
	fmt.Printf("%s %.3f\n", nearest, best)
}
