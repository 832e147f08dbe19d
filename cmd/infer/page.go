package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"html/template"
)

// pageFuncs and pageStyle are what the pages that infer writes have in common. A page loads nothing
// from elsewhere.
var pageFuncs = template.FuncMap{
	"heat":    func(p float64) template.CSS { return template.CSS(fmt.Sprintf("background:rgba(40,140,80,%.2f)", p)) },
	"percent": func(p float64) string { return fmt.Sprintf("%.1f %%", 100*p) },
}

const pageStyle = `:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .5rem; text-align: center; border: 1px solid #8884 }
td img { width: 6rem; height: 6rem; object-fit: contain; background: #fff; border-radius: .5rem }
.quiet { opacity: .7 }
`

// thumbnailURL is an image's thumbnail inside the page.
func thumbnailURL(path string) (template.URL, error) {
	data, kind, err := thumbnail(context.Background(), path, unbounded)
	if err != nil {
		return "", err
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data)), nil
}
