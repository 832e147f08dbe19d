package main

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"io"
	"slices"

	"github.com/goclip/goclip/internal/disk"
)

// maxImages are shown on a page: a browser should still open it.
const maxImages = 1000

// classPage is what the template shows.
type classPage struct {
	*classification
	Rows   []*classRow
	Beyond int // images that are not shown
}

// classRow is an image. Its thumbnail is made while the page is written, so that memory holds one.
type classRow struct {
	imageClass
	ctx  context.Context
	errs io.Writer
}

// Thumbnail is empty where the file has gone since.
func (r *classRow) Thumbnail() (template.URL, error) {
	if err := r.ctx.Err(); err != nil {
		return "", err
	}
	url, err := thumbnailURL(string(r.Path))
	if err != nil {
		fmt.Fprintln(r.errs, message(err))
	}
	return url, nil
}

// Wrong reports whether the image's class is known and was not the first prediction.
func (r *classRow) Wrong() bool { return r.Truth != "" && len(r.Top) > 0 && r.Top[0].Label != r.Truth }

// Matrix is empty for more classes than a page shows well.
func (p classPage) Matrix() [][]int {
	if p.Accuracy == nil || len(p.Labels) > 4*maxMatrix {
		return nil
	}
	return p.matrix()
}

// Confused returns the pairs most often confused.
func (p classPage) Confused() []confusion { return p.confused(4 * maxConfused) }

// writePage writes the page whole or not at all: wrong predictions first, then by class, the surest
// first.
func (c *classification) writePage(ctx context.Context, path string, errs io.Writer) error {
	p := classPage{classification: c}
	for _, image := range c.Images {
		p.Rows = append(p.Rows, &classRow{image, ctx, errs})
	}
	slices.SortStableFunc(p.Rows, func(a, b *classRow) int {
		switch {
		case a.Wrong() != b.Wrong():
			if a.Wrong() {
				return -1
			}
			return 1
		case len(a.Top) == 0 || len(b.Top) == 0: // unreadable ones at the end
			return cmp.Compare(len(b.Top), len(a.Top))
		}
		return cmp.Or(cmp.Compare(a.Top[0].Label, b.Top[0].Label), cmp.Compare(b.Top[0].Prob, a.Top[0].Prob))
	})
	if p.Beyond = max(len(p.Rows)-maxImages, 0); p.Beyond > 0 {
		p.Rows = p.Rows[:maxImages]
	}
	out := newOutput(disk.Machine{}, path)
	files := outputs{out}
	defer files.discard()
	if out.err == nil {
		out.err = classTemplate.Execute(out.w, p)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return files.commit()
}

var classTemplate = template.Must(template.New("classify").Funcs(pageFuncs).Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>goclip: {{len .Images}} images</title>
<style>
` + pageStyle + `td.path { text-align: left; overflow-wrap: anywhere } .wrong { color: #c33 } .wide { overflow-x: auto }
</style>
<h1>{{len .Images}} images, {{len .Labels}} classes</h1>
<p class="quiet">{{.Model}}, {{len .Templates}} {{if eq (len .Templates) 1}}template{{else}}templates{{end}}; probabilities are over all classes.</p>
{{with .Accuracy}}<h2>Accuracy</h2>
<p>Of {{.Images}} images the first prediction is right for {{percent .Top1}}, one of the first five for {{percent .Top5}}; mean of the classes {{percent .MeanPerClass}}.</p>
{{with $.Matrix}}<div class="wide"><table><tr><th>truth, taken for</th>{{range $.Labels}}<th>{{.}}</th>{{end}}</tr>
{{range $i, $row := .}}<tr><th>{{index $.Labels $i}}</th>{{range $row}}<td>{{if .}}{{.}}{{end}}</td>{{end}}</tr>
{{end}}</table></div>
{{else}}{{with $.Confused}}<table><tr><th>truth</th><th>taken for</th><th>images</th></tr>
{{range .}}<tr><td>{{.Truth}}</td><td>{{.Label}}</td><td>{{.Count}}</td></tr>
{{end}}</table>{{end}}{{end}}{{end}}
<h2>Images</h2>
{{if .Beyond}}<p class="quiet">The first {{len .Rows}}; {{.Beyond}} more are not shown.</p>{{end}}
<table><tr><th></th><th>image</th><th>classes</th></tr>
{{range .Rows}}<tr><td>{{if not .Error}}{{with .Thumbnail}}<img loading="lazy" src="{{.}}" alt="">{{end}}{{end}}</td>
<td class="path">{{.Path}}{{if .Truth}}<br><span class="{{if .Wrong}}wrong{{else}}quiet{{end}}">{{.Truth}}</span>{{end}}</td>
<td>{{if .Error}}<span class="quiet">{{.Error}}</span>{{end}}{{range .Top}}<div style="{{heat .Prob}}">{{.Label}} {{percent .Prob}}</div>{{end}}</td></tr>
{{end}}</table>
</html>
`))
