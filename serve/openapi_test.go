package serve

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The document lists what is served, no more and no less, and requests and answers of every route
// are as it says.
func TestOpenAPI(t *testing.T) {
	images := knownImages(t, "data/demo/dog.png", "data/demo/racing_car.png")
	s, at := start(t, Options{Indices: []Indexed{{Index: shelf{images[0], images[1]}}}, Thumbnail: func(context.Context, string, func(int64) error) ([]byte, string, error) {
		return dogFile(t), "image/png", nil
	}})
	_, _, text := get(t, at+"/openapi.yaml")
	doc, err := openapi3.NewLoader().LoadFromData(text)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(context.Background()))
	var told, served []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			told = append(told, method+" "+path)
		}
	}
	for _, r := range s.routes {
		served = append(served, r.method+" "+strings.ReplaceAll(r.path, "...}", "}"))
	}
	assert.ElementsMatch(t, told, served)
	doc.Servers = openapi3.Servers{{URL: at}}
	router, err := legacy.NewRouter(doc)
	require.NoError(t, err)

	dog, bad := dataURI(dogFile(t)), dataURI(bomb(60_000, 60_000))
	predict, contentType := form(t, [2]string{"entries", `{"clip":{"visual":{"modelName":"emoji-64"}}}`}, [2]string{"image", string(dogFile(t))})
	seen := map[string]bool{}
	for _, c := range []struct {
		method, path string
		body         any
		contentType  string
		code         int
	}{
		{"POST", "/v1/embeddings", object{"input": "a dog", "model": "emoji-64", "encoding_format": "base64"}, "", 200},
		{"POST", "/v1/embeddings", object{"input": []any{"a dog", dog, bad, object{"text": "a"}, object{"image": dog}, []int{49406, 320, 49407}}}, "", 200},
		{"POST", "/v1/embeddings", object{"input": []int{49406, 320, 49407}}, "", 200},
		{"POST", "/v1/embeddings", object{"input": bad}, "", 413},
		{"POST", "/v1/embeddings", object{"messages": []any{object{"role": "user", "content": []any{object{"type": "image_url", "image_url": object{"url": dog}}, object{"type": "text", "text": ""}}}}}, "", 200},
		{"POST", "/v1/embeddings", object{"messages": []any{object{"role": "user", "content": "a dog"}}}, "", 200},
		{"POST", "/v1/score", object{"texts": []string{"a", "b"}, "images": []any{dog, object{"image": dog}, bad}}, "", 200},
		{"POST", "/v1/classify", object{"labels": []string{"a", "b"}, "images": []any{dog, bad}, "templates": "a {}"}, "", 200},
		{"POST", "/v1/search", object{"text": "a dog"}, "", 200},
		{"POST", "/v1/search", object{}, "", 400},
		{"POST", "/v1/search", object{"text": "a dog", "min_probability": 0}, "", 200},
		{"POST", "/v1/learn", object{"text": "a dog", "yes": []string{"photos/dog.png"}, "no": []string{}, "propose": 1}, "", 200},
		{"POST", "/v1/learn", object{"text": "a dog"}, "", 400},
		{"POST", "/v1/explain", object{"text": "a dog", "image": dog, "method": "values"}, "", 200},
		{"POST", "/v1/explain", object{"text": "a dog", "image": bad}, "", 413},
		{"GET", "/v1/models", nil, "", 200},
		{"GET", "/v1/models/emoji-64", nil, "", 200},
		{"GET", "/v1/models/other", nil, "", 404},
		{"GET", "/" + s.imageAddress("a.png"), nil, "", 200},
		{"GET", "/v1/image?path=a&sum=00", nil, "", 404},
		{"PUT", "/v1/images/a.png", dogFile(t), "application/octet-stream", 403},
		{"DELETE", "/v1/images/a.png", nil, "", 403},
		{"POST", "/predict", predict, contentType, 200},
		{"GET", "/ping", nil, "", 200},
		{"POST", "/vectorize", object{"texts": []string{"a"}, "images": []string{dog}}, "", 200},
		{"POST", "/vectorize", object{"images": []string{"!"}}, "", 400},
		{"GET", "/meta", nil, "", 200},
		{"GET", "/.well-known/live", nil, "", 204},
		{"GET", "/.well-known/ready", nil, "", 204},
		{"POST", "/api/embed", object{"model": "emoji-64", "input": []string{"a"}, "images": []string{dog}}, "", 200},
		{"POST", "/api/embed", object{"model": "other", "input": "a"}, "", 404},
		{"POST", "/api/embeddings", object{"model": "emoji-64", "prompt": "a"}, "", 200},
		{"POST", "/api/embeddings", object{"model": "other", "prompt": "a"}, "", 404},
		{"POST", "/embeddings", object{"input": []any{object{"bytes": dataURI(dogFile(t))}}, "modality": "image"}, "", 200},
		{"GET", "/models", nil, "", 200},
		{"POST", "/embed", object{"inputs": []any{"a", dog}, "truncate": true, "normalize": true}, "", 200},
		{"POST", "/embed", object{"inputs": "a", "normalize": false}, "", 400},
		{"GET", "/info", nil, "", 200},
		{"GET", "/health", nil, "", 200},
		{"POST", "/v2/embed", object{"model": "emoji-64", "input_type": "image", "images": []string{dog}, "embedding_types": []string{"float", "base64"}}, "", 200},
		{"POST", "/v2/embed", object{"inputs": []any{object{"content": []any{object{"type": "text", "text": "a"}}}, object{"content": []any{object{"type": "image_url", "image_url": object{"url": dog}}}}}}, "", 200},
		{"POST", "/v2/embed", object{"texts": []string{"a"}, "truncate": "START"}, "", 400},
		{"GET", "/api/tags", nil, "", 200},
		{"GET", "/api/ps", nil, "", 200},
		{"POST", "/api/show", object{"model": "emoji-64:latest"}, "", 200},
		{"POST", "/api/show", object{"name": "other"}, "", 404},
		{"GET", "/api/version", nil, "", 200},
		{"GET", "/healthz", nil, "", 200},
		{"GET", "/metrics", nil, "", 200},
		{"GET", "/openapi.yaml", nil, "", 200},
		{"GET", "/", nil, "", 200},
		{"GET", "/page.css", nil, "", 200},
		{"GET", "/page.js", nil, "", 200},
		{"GET", "/korean.js", nil, "", 200},
		{"GET", "/where.js", nil, "", 200},
		{"GET", "/samples/dog.png", nil, "", 200},
		{"GET", "/samples/racing_car.png", nil, "", 200},
		{"GET", "/icon.svg", nil, "", 200},
	} {
		name := c.method + " " + c.path
		if c.contentType == "" {
			c.contentType = "application/json"
		}
		var code int
		var header http.Header
		var answer []byte
		data, ok := c.body.([]byte)
		if !ok && c.body != nil {
			data = encode(t, c.body)
		}
		sent, err := http.NewRequest(c.method, at+c.path, bytes.NewReader(data))
		require.NoError(t, err)
		sent.Header.Set("Content-Type", c.contentType)
		code, header, answer = do(t, sent)
		require.Equal(t, c.code, code, "%s: %s", name, answer)
		r, err := http.NewRequest(c.method, at+c.path, bytes.NewReader(data))
		require.NoError(t, err)
		r.Header.Set("Content-Type", c.contentType)
		route, params, err := router.FindRoute(r)
		require.NoError(t, err, name)
		seen[route.Method+" "+route.Path] = true
		options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}
		in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
		if code < 400 && c.body != nil {
			assert.NoError(t, openapi3filter.ValidateRequest(context.Background(), in), name)
		}
		if kind := header.Get("Content-Type"); strings.HasPrefix(kind, "application/json") || code == 204 {
			out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: code, Header: header, Options: options}
			out.Body = io.NopCloser(bytes.NewReader(answer))
			assert.NoError(t, openapi3filter.ValidateResponse(context.Background(), out), name)
		} else {
			media, _, _ := strings.Cut(kind, ";")
			assert.Contains(t, route.Operation.Responses.Status(code).Value.Content, media, name)
		}
	}
	assert.Len(t, seen, len(served), "every route was asked")
}
