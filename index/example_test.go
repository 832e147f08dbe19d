package index_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/models"
)

// An index of a folder's images, brought up to date and searched by words.
func ExampleUpdate() {
	ctx := context.Background()
	model, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "index")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	r, err := index.Update(ctx, dir, model, &index.UpdateOptions{Paths: []string{"../data/demo"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Added > 0, r.Unreadable)

	ix, err := index.Open(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer ix.Close()
	encoder := func(context.Context) (clip.Encoder, error) { return clip.Encoder{Model: model}, nil }
	query, err := ix.Query(ctx, []index.Term{{Text: "a racing car", Weight: 1}}, encoder)
	if err != nil {
		log.Fatal(err)
	}
	hits, err := ix.Search(ctx, query, 1, index.Filter{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(filepath.Base(hits[0][0].Path))
	// Output:
	// true 0
	// racing_car.png
}
