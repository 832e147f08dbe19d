package main

import (
	"context"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"

	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/internal/disk"
)

// maxImages are shown on a page: a browser should still open it.
const maxImages = 1000

// pages are the templates of what infer writes. A page loads nothing from elsewhere.
//
//go:embed pages
var pages embed.FS

// writePage fills pages/NAME.html with data, and writes it whole or not at all. Thumbnails are made
// meanwhile, so that memory holds one; that of a file that has gone since is empty, with a line in errs.
func writePage(ctx context.Context, path, name string, data any, errs io.Writer) error {
	t, err := template.New(name).Funcs(template.FuncMap{
		"heat":      func(p float64) template.CSS { return template.CSS(fmt.Sprintf("background:rgba(40,140,80,%.2f)", p)) },
		"percent":   func(p float64) string { return fmt.Sprintf("%.1f %%", 100*p) },
		"kilobytes": func(bytes int64) int64 { return (bytes + 999) / 1000 },
		"quoted":    quoted,
		"link":      fileLink,
		"thumbnail": func(path any) (template.URL, error) {
			if err := ctx.Err(); err != nil {
				return "", err
			}
			url, err := thumbnailURL(fmt.Sprint(path))
			if err != nil {
				fmt.Fprintln(errs, message(err))
			}
			return url, nil
		},
	}).ParseFS(pages, "pages/"+name+".html", "pages/style.html")
	if err != nil {
		return err
	}
	out := newOutput(disk.Machine{}, path)
	files := outputs{out}
	defer files.discard()
	if out.err == nil {
		out.err = t.ExecuteTemplate(out.w, name+".html", data)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return files.commit()
}

// thumbnailURL is an image's thumbnail inside the page.
func thumbnailURL(path string) (template.URL, error) {
	data, kind, err := thumbnail(context.Background(), path, unbounded)
	if err != nil {
		return "", err
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data)), nil
}

// groupsPage is groups of images, and how many do not fit on a page.
type groupsPage struct {
	Title  string
	Groups [][]index.Hit
	Beyond int // groups
}

// writeGroups writes a page of groups. Beyond maxImages images no group is begun.
func writeGroups(ctx context.Context, path, title string, groups [][]index.Hit, errs io.Writer) error {
	p, images := groupsPage{title, groups, 0}, 0
	for i, g := range groups {
		if images += len(g); images > maxImages && i > 0 {
			p.Groups, p.Beyond = groups[:i], len(groups)-i
			break
		}
	}
	return writePage(ctx, path, "groups", p, errs)
}
