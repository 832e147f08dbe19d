package main

import (
	"context"
	"fmt"
	"html/template"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/internal/disk"
)

// hitPage is what the template shows.
type hitPage struct {
	Query, Model string
	Hits         []*hitCell
}

// hitCell is a found image. Its thumbnail is made while the page is written, so that memory holds one.
type hitCell struct {
	index.Hit
	ctx  context.Context
	errs io.Writer
}

// Name returns the path for people.
func (h *hitCell) Name() string { return quoted(h.Path) }

// Link returns the file's address, of a frame that of its video at its second.
func (h *hitCell) Link() template.URL {
	path, fragment := h.Path, ""
	if video, _, ok := preprocess.VideoFrame(path); ok {
		path, fragment = video, h.Path[len(video)+1:]
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return template.URL((&url.URL{Scheme: "file", Path: path, Fragment: fragment}).String())
}

// Thumbnail is empty where the file has gone since.
func (h *hitCell) Thumbnail() (template.URL, error) {
	if err := h.ctx.Err(); err != nil {
		return "", err
	}
	address, err := thumbnailURL(h.Path)
	if err != nil {
		fmt.Fprintln(h.errs, message(err))
	}
	return address, nil
}

// writePage writes the found images as a page, to a temporary file where --open alone asks for it,
// and shows it.
func (c *searchCmd) writePage(ctx context.Context, io *streams, model string, terms []index.Term, hits []index.Hit) error {
	p := hitPage{Query: queryText(terms), Model: model}
	for _, h := range hits {
		p.Hits = append(p.Hits, &hitCell{h, ctx, io.err})
	}
	path := c.HTML
	if path == "" {
		dir, err := os.MkdirTemp("", "infer-search-")
		if err != nil {
			return err
		}
		path = filepath.Join(dir, "search.html")
	}
	out := newOutput(disk.Machine{}, path)
	files := outputs{out}
	defer files.discard()
	if out.err == nil {
		out.err = hitTemplate.Execute(out.w, p)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := files.commit(); err != nil {
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

var hitTemplate = template.Must(template.New("search").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>goclip: {{.Query}}</title>
<style>
` + pageStyle + `ul { list-style: none; padding: 0; display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)) }
li { overflow-wrap: anywhere; font-size: .85rem } li img { width: 100%; aspect-ratio: 1; object-fit: contain; background: #fff; border-radius: .5rem }
</style>
<h1>{{.Query}}</h1>
<p class="quiet">{{len .Hits}} images, {{.Model}}; the number is the cosine with the query.</p>
<ul>{{range .Hits}}
<li>{{with .Thumbnail}}<img loading="lazy" src="{{.}}" alt="">{{end}}{{printf "%.3f" .Score}} <a href="{{.Link}}">{{.Name}}</a></li>{{end}}
</ul>
</html>
`))
