package serve

import (
	"math"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
)

// TestNotFinite serves a model with a spoiled weight: the answer names it.
func TestNotFinite(t *testing.T) {
	m, err := clip.OpenFS(t.Context(), models.FS(), models.Default, nil)
	require.NoError(t, err)
	for key, p := range m.Parameters() {
		if key == "visual.proj" {
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) { s.Alias(p).Fill(math.NaN()) }))
		}
	}
	s, err := New(t.Context(), Options{}, Loaded(m))
	require.NoError(t, err)
	h := httptest.NewServer(s)
	defer func() { h.Close(); s.Close() }()
	code, _, body := post(t, h.URL+"/v1/score", map[string]any{"texts": "a dog", "images": dataURI(dogFile(t))})
	assert.Equal(t, 500, code)
	assert.Contains(t, string(body), "the tensor visual.proj holds NaN or infinite numbers")
	assert.Contains(t, string(body), `"not_finite"`)
}
