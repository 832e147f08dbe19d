package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestServeTraces has a collector receive the spans of two requests, of which one belongs to a
// client's trace.
func TestServeTraces(t *testing.T) {
	var mu sync.Mutex
	var spans []otlpSpan
	c := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/v1/traces", r.URL.Path)
		assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
		var q otlpRequest
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&q))
		mu.Lock()
		defer mu.Unlock()
		for _, of := range q.ResourceSpans {
			assert.Contains(t, of.Resource.Attributes, otlpAttribute{"service.name", map[string]any{"stringValue": "goclip"}})
			for _, scope := range of.ScopeSpans {
				spans = append(spans, scope.Spans...)
			}
		}
	}))
	defer c.Close()
	s := begin(t, "--otlp-endpoint", c.URL)
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for body, code := range map[string]int{string(dogRequest(t)): 200, `{"input":1}`: 400} {
		r, err := http.NewRequest(http.MethodPost, s.at+"/v1/embeddings", strings.NewReader(body))
		require.NoError(t, err)
		if code == 200 {
			r.Header.Set("traceparent", "00-"+trace+"-"+parent+"-01")
			r.Header.Set("X-Request-Id", "mine")
		}
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		answer.Body.Close()
		assert.Equal(t, code, answer.StatusCode)
	}
	s.end(t)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, spans, 5)
	named := map[string]otlpSpan{}
	for _, span := range spans {
		if span.TraceID == trace {
			named[span.Name] = span
		}
		assert.Less(t, span.Start, span.End) // of as many digits
	}
	request := named["POST /v1/embeddings"]
	assert.Equal(t, parent, request.ParentID)
	assert.Equal(t, 2, request.Kind)
	assert.Contains(t, request.Attributes, otlpAttribute{"http.response.status_code", map[string]any{"intValue": "200"}})
	assert.Contains(t, request.Attributes, otlpAttribute{"goclip.request_id", map[string]any{"stringValue": "mine"}})
	for _, stage := range []string{"decode", "queue", "forward_image"} {
		require.Contains(t, named, stage)
		assert.Equal(t, request.SpanID, named[stage].ParentID, stage)
	}
	assert.Equal(t, []otlpAttribute{{"goclip.batch_size", map[string]any{"intValue": "1"}}}, named["forward_image"].Attributes)
}
