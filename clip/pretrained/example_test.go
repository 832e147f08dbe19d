package pretrained_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/clip/pretrained"
)

func ExampleParseName() {
	configs := []string{"RN50", "ViT-B-16", "ViT-B-32", "ViT-L-14"}
	for _, name := range []string{"vit-b/32", "ViT-B-32__openai", "openai/clip-vit-base-patch32", "ViT-B32"} {
		n, err := pretrained.ParseName(name, configs)
		fmt.Println(n, err)
	}
	// Output:
	// ViT-B-32 <nil>
	// ViT-B-32:openai <nil>
	// hf-hub:openai/clip-vit-base-patch32 <nil>
	//  pretrained: no model is called "ViT-B32"; did you mean ViT-B-32, ViT-B-16 or ViT-L-14; a repository of the Hugging Face hub is written hf-hub:ORG/NAME
}

func ExampleLookup() {
	e, err := pretrained.Lookup("ViT-L/14@336px", "openai")
	fmt.Println(e.Model, e.QuickGELU, e.SHA256[:8], err)
	_, err = pretrained.Lookup("ViT-L-14-336", "laion2b_s32b_b82k")
	fmt.Println(err)
	// Output:
	// ViT-L-14-336 true 3035c92b <nil>
	// pretrained: ViT-L-14-336 has no weights called "laion2b_s32b_b82k"; it has openai; the tag belongs to ViT-L-14
}

// A file that was brought by hand is found where the error message said it should lie.
func ExampleFind() {
	cache, err := os.MkdirTemp("", "goclip")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(cache)
	name := filepath.Join(cache, "ViT-B-32", "laion2b_s34b_b79k", "open_clip_model.safetensors")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		panic(err)
	}
	if err := os.WriteFile(name, []byte("weights"), 0o644); err != nil {
		panic(err)
	}

	file, err := pretrained.Find(context.Background(), "ViT-B/32", "laion2b_s34b_b79k", pretrained.Options{Cache: cache, Offline: true})
	if err != nil {
		panic(err)
	}
	fmt.Println(filepath.Base(file.Path), file.Size, "bytes from", file.Origin)
	fmt.Println(file.Sum[:16], file.ResizeMode, file.QuickGELU)
	// Output:
	// open_clip_model.safetensors 7 bytes from goclip's cache
	// 9a129038d9a00aed shortest false
}
