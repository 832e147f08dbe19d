package serve

import (
	"embed"
	"net/http"
)

// The page and the description of the API. All that the page uses is here: it works without a
// network.
//
//go:embed openapi.yaml page
var assets embed.FS

// pagePolicy lets the page use what comes from this server, and images that its user dropped on
// it.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; " +
	"form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

// asset answers with an embedded file.
func asset(name, mediaType string) func(w http.ResponseWriter, r *http.Request) error {
	data, err := assets.ReadFile(name)
	return func(w http.ResponseWriter, _ *http.Request) error {
		if err != nil {
			return err // only if the build lacks it, and then a test fails
		}
		h := w.Header()
		h.Set("Content-Type", mediaType)
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("Cache-Control", "no-cache")
		_, _ = w.Write(data) // a client that has gone
		return nil
	}
}
