// Command clients asks infer serve with Ollama's Go client, and as Weaviate's module multi2vec-clip
// does. make clients runs it: go run . BASE EXPECTED DOG, as clients.py.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"

	"github.com/ollama/ollama/api"
)

const model = "emoji-64"

type expected struct {
	Texts map[string][]float32
	Dog   []float32
}

func main() {
	base, err := url.Parse(os.Args[1])
	check(err)
	var want expected
	data, err := os.ReadFile(os.Args[2])
	check(err)
	check(json.Unmarshal(data, &want))
	dog, err := os.ReadFile(os.Args[3])
	check(err)
	version := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/ollama/ollama" {
				version = m.Version
			}
		}
	}
	report("ollama (Go)", version, "Embed, Embeddings, List, Show, ListRunning, Version", ollama(base, want))
	report("Weaviate's multi2vec-clip", "its requests replayed", "vectorize, meta, ready", weaviate(base, want, dog))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func report(client, version, does string, err error) {
	line := map[string]string{"client": client, "version": version, "does": does, "wrong": ""}
	if err != nil {
		line["wrong"] = err.Error()
	}
	check(json.NewEncoder(os.Stdout).Encode(line))
}

func near(got, want []float32) error {
	if len(got) != len(want) {
		return fmt.Errorf("a row of %d, not %d", len(got), len(want))
	}
	for i := range got {
		if math.Abs(float64(got[i]-want[i])) > 1e-5 {
			return fmt.Errorf("%g, not %g, at %d", got[i], want[i], i)
		}
	}
	return nil
}

func ollama(base *url.URL, want expected) error {
	ctx, c := context.Background(), api.NewClient(base, http.DefaultClient)
	for text, row := range want.Texts {
		a, err := c.Embed(ctx, &api.EmbedRequest{Model: model, Input: text})
		if err != nil {
			return err
		}
		if err := near(a.Embeddings[0], row); err != nil {
			return err
		}
		old, err := c.Embeddings(ctx, &api.EmbeddingRequest{Model: model, Prompt: text})
		if err != nil {
			return err
		}
		if len(old.Embedding) != len(row) {
			return fmt.Errorf("an old row of %d", len(old.Embedding))
		}
	}
	list, err := c.List(ctx)
	if err != nil || len(list.Models) != 1 || list.Models[0].Name != model {
		return fmt.Errorf("list: %v, %v", list, err)
	}
	if _, err := c.Show(ctx, &api.ShowRequest{Model: model}); err != nil {
		return err
	}
	if running, err := c.ListRunning(ctx); err != nil || len(running.Models) != 1 {
		return fmt.Errorf("running: %v, %v", running, err)
	}
	if _, err := c.Version(ctx); err != nil {
		return err
	}
	_, err = c.Embed(ctx, &api.EmbedRequest{Model: "other", Input: "a"})
	if err == nil || !strings.Contains(err.Error(), "is not served here") {
		return fmt.Errorf("another model: %v", err)
	}
	return nil
}

func weaviate(base *url.URL, want expected, dog []byte) error {
	for text, row := range want.Texts {
		body, err := json.Marshal(struct {
			Texts  []string `json:"texts"`
			Images [][]byte `json:"images"` // base64
		}{[]string{text}, [][]byte{dog}})
		if err != nil {
			return err
		}
		answer, err := http.Post(base.JoinPath("vectorize").String(), "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		var a struct {
			TextVectors  [][]float32 `json:"textVectors"`
			ImageVectors [][]float32 `json:"imageVectors"`
			Error        string      `json:"error"`
		}
		err = json.NewDecoder(answer.Body).Decode(&a)
		answer.Body.Close()
		if err != nil || a.Error != "" {
			return fmt.Errorf("%v %s", err, a.Error)
		}
		if err := near(a.TextVectors[0], row); err != nil {
			return err
		}
		if err := near(a.ImageVectors[0], want.Dog); err != nil {
			return err
		}
	}
	for path, code := range map[string]int{"meta": 200, ".well-known/ready": 204} {
		answer, err := http.Get(base.JoinPath(path).String())
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != code {
			return fmt.Errorf("%s: %s", path, answer.Status)
		}
	}
	return nil
}
