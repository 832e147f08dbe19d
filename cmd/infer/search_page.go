package main

import (
	"context"
	"fmt"
	"html/template"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/index"
)

// hitPage is what the template shows.
type hitPage struct {
	Query, Model string
	Hits         []index.Hit
}

// fileLink is a file's address, of a frame that of its video at its second.
func fileLink(path string) template.URL {
	fragment := ""
	if video, _, ok := preprocess.VideoFrame(path); ok {
		path, fragment = video, path[len(video)+1:]
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return template.URL((&url.URL{Scheme: "file", Path: path, Fragment: fragment}).String())
}

// writePage writes the found images as a page, to a temporary file where --open alone asks for it,
// and shows it.
func (c *searchCmd) writePage(ctx context.Context, io *streams, model string, terms []index.Term, hits []index.Hit) error {
	path := c.HTML
	if path == "" {
		dir, err := os.MkdirTemp("", "infer-search-")
		if err != nil {
			return err
		}
		path = filepath.Join(dir, "search.html")
	}
	if err := writePage(ctx, path, "search", hitPage{queryText(terms), model, hits}, io.err); err != nil {
		return err
	}
	if !c.Open {
		return nil
	}
	if err := exec.Command(opener(), path).Start(); err != nil {
		return fmt.Errorf("--open: %w; the page is %s", err, path)
	}
	return nil
}

// opener is the program that shows a file as its owner likes.
func opener() string {
	if runtime.GOOS == "darwin" {
		return "open"
	}
	return "xdg-open"
}

// queryText is a query for people.
func queryText(terms []index.Term) string {
	var b strings.Builder
	for i, t := range terms {
		switch {
		case t.Weight < 0:
			b.WriteString(" - ")
		case i > 0:
			b.WriteString(" + ")
		}
		b.WriteString(t.Text + t.Image)
	}
	return strings.TrimSpace(b.String())
}
