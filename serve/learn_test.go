package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
)

// Teach gives the row of the last image that is shown, and proposes the other one.
func (s shelf) Teach(_ context.Context, _ *clip.Model, l Lesson, f Filter) (c Concept, err error) {
	names := []string{"photos/dog.png", "photos/car & co.png"}
	for _, path := range slices.Concat(l.Yes, l.No) {
		if !slices.Contains(names, path) {
			return c, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
	}
	switch l.Name {
	case "forbidden":
		return c, fs.ErrPermission
	case "two words":
		return c, fmt.Errorf("a name of two words: %w", fs.ErrInvalid)
	case "":
	default:
		c.Version = 3
	}
	at := slices.Index(names, l.Yes[len(l.Yes)-1])
	c.Row = s[at]
	if l.Propose > 0 {
		c.Proposals = []Hit{{Path: names[1-at], Score: 0.5}}
	}
	return c, nil
}

// Judge has the cosine for the probability.
func (s shelf) Judge(_ context.Context, m *clip.Model, _ []float32, hits []Hit) error {
	for i := range hits {
		hits[i].Probability = float64(hits[i].Score)
	}
	return nil
}

// ask posts a body, reads the answer into to, unless it is nil, and gives it as text too.
func ask(t *testing.T, url string, body object, to any) (code int, text string) {
	t.Helper()
	code, _, data := post(t, url, body)
	if to != nil && code == 200 {
		require.NoError(t, json.Unmarshal(data, to))
	}
	return code, string(data)
}

func TestLearn(t *testing.T) {
	images := knownImages(t, "data/demo/dog.png", "data/demo/racing_car.png")
	_, at := start(t, Options{Indices: []Indexed{{Index: shelf{images[0], images[1]}}}})
	car := []string{"photos/car & co.png"}
	var a learnAnswer
	code, text := ask(t, at+"/v1/learn", object{"yes": car, "no": []string{"photos/dog.png"}, "propose": 2, "top_k": 1}, &a)
	require.Equal(t, 200, code, text)
	assert.Equal(t, [3]any{"photos/car & co.png", 1, true}, [3]any{a.Hits[0].Path, len(a.Hits), a.More})
	assert.InDelta(t, 1, a.Hits[0].Score, 1e-5)
	assert.Equal(t, "photos/dog.png", a.Proposals[0].Path)
	assert.Zero(t, a.Version)
	code, text = ask(t, at+"/v1/learn", object{"yes": car, "name": "ferrari"}, &a)
	require.Equal(t, 200, code, text)
	assert.Equal(t, [2]any{"ferrari", 3}, [2]any{a.Name, a.Version})

	for _, c := range []struct {
		body object
		code int
		says string
	}{
		{object{"no": car}, 400, "yes is missing"},
		{object{"yes": []string{"/etc/passwd"}}, 400, "/etc/passwd"},
		{object{"yes": car, "name": "two words"}, 400, "a name of two words"},
		{object{"yes": car, "name": "forbidden"}, 403, "does not store words"},
		{object{"yes": make([]string, 1001)}, 413, "more than 1000"},
		{object{"yes": car, "propose": -1}, 400, "propose must be between 0 and 100"},
		{object{"yes": car, "top_k": -1}, 400, "top_k must be at least 1"},
		{object{"yes": car, "since": "x"}, 400, "since must be a day"},
		{object{"yes": car, "model": "other"}, 404, ""},
		{object{"yes": car, "image": "x"}, 400, "the known ones are name, text, yes, no, propose, model"},
	} {
		code, text := ask(t, at+"/v1/learn", c.body, nil)
		assert.Contains(t, text, c.says)
		if c.body["model"] == nil {
			assert.Equal(t, c.code, code, text)
		} else {
			assert.GreaterOrEqual(t, code, 400)
		}
	}
	_, at = start(t, Options{Indices: []Indexed{{Index: silent{shelf{images[0], images[1]}}}}})
	code, text = ask(t, at+"/v1/learn", object{"yes": car}, nil)
	assert.Equal(t, 400, code)
	assert.Contains(t, text, "does not learn")
	code, text = ask(t, at+"/v1/search", object{"text": "a dog", "min_probability": 0.1}, nil)
	assert.Equal(t, 400, code)
	assert.Contains(t, text, "does not tell probabilities")
}

// silent is an index that does nothing else than search.
type silent struct{ of Index }

func (s silent) Len() int { return s.of.Len() }
func (s silent) Search(ctx context.Context, row []float32, k int, f Filter) ([]Hit, error) {
	return s.of.Search(ctx, row, k, f)
}

func TestMinProbability(t *testing.T) {
	images := knownImages(t, "data/demo/dog.png", "data/demo/racing_car.png")
	_, at := start(t, Options{Indices: []Indexed{{Index: shelf{images[0], images[1]}}}})
	var all, some searchAnswer
	code, text := ask(t, at+"/v1/search", object{"text": "a cute dog", "min_probability": 0}, &all)
	require.Equal(t, 200, code, text)
	require.Len(t, all.Hits, 2)
	assert.InDelta(t, all.Hits[0].Score, *all.Hits[0].Probability, 1e-6)
	code, text = ask(t, at+"/v1/search", object{"text": "a cute dog", "min_probability": 0.3}, &some)
	require.Equal(t, 200, code, text)
	require.Len(t, some.Hits, 1)
	assert.Equal(t, all.Hits[0], some.Hits[0])
	assert.False(t, some.More)
	var plain searchAnswer
	code, text = ask(t, at+"/v1/search", object{"image": dataURI(dogFile(t)), "min_probability": 0}, &plain)
	require.Equal(t, 200, code, text)
	assert.Nil(t, plain.Hits[0].Probability, "a search by an image has none")
	for _, body := range []object{{"text": "a dog", "min_probability": 1.5}, {"image": dataURI(dogFile(t)), "min_probability": 0.5}} {
		code, text := ask(t, at+"/v1/search", body, nil)
		assert.Equal(t, 400, code)
		assert.Contains(t, text, "min_probability")
	}
}

func TestExplain(t *testing.T) {
	_, at := start(t, Options{})
	want, err := model(t).Explain(t.Context(), clip.FromBytes(dogFile(t)), "a dog", &clip.ExplainOptions{Method: clip.ExplainValues, Limits: preprocess.Limits{Orient: true}})
	require.NoError(t, err)
	var a explainAnswer
	code, text := ask(t, at+"/v1/explain", object{"image": dataURI(dogFile(t)), "text": "a dog", "method": "values"}, &a)
	require.Equal(t, 200, code, text)
	assert.Equal(t, [2]any{"emoji-64", "values"}, [2]any{a.Model, a.Method})
	assert.InDelta(t, want.Cosine, a.Cosine, 1e-5)
	assert.Equal(t, want.Region, a.Region)
	assert.Equal(t, want.Size, a.Size)
	require.Len(t, a.Map, len(want.Map))
	for i, row := range want.Map {
		assert.InDeltaSlice(t, row, a.Map[i], 1e-5)
	}
	code, text = ask(t, at+"/v1/explain", object{"image": dataURI(dogFile(t)), "text": "a dog"}, &a)
	require.Equal(t, 200, code, text)
	assert.Equal(t, [2]any{"windows", 24}, [2]any{a.Method, len(a.Map)})
	for _, c := range []struct {
		body object
		code int
		says string
	}{
		{object{"text": "a dog"}, 400, "image is missing"},
		{object{"image": dataURI(dogFile(t))}, 400, "text is missing"},
		{object{"image": dataURI(dogFile(t)), "text": "a dog", "method": "magic"}, 400, "windows, values or gradient"},
		{object{"image": "data:image/png;base64,AAAA", "text": "a dog"}, 422, "not an image"},
		{object{"image": "http://example.com/a.png", "text": "a dog"}, 403, "fetches no addresses"},
		{object{"image": dataURI(bomb(60_000, 60_000)), "text": "a dog"}, 413, ""},
	} {
		code, text := ask(t, at+"/v1/explain", c.body, nil)
		assert.Equal(t, c.code, code, text)
		assert.Contains(t, text, c.says)
	}
}
