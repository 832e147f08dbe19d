package serve

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
)

type embeddingsOf[T any] struct {
	Object string
	Model  string
	Data   []struct {
		Object    string
		Index     int
		Embedding T
		Truncated bool
		Error     *openAIErrorBody
	}
	Usage usage
}

func TestEmbeddings(t *testing.T) {
	_, at := start(t, Options{})
	dog, words := knownImages(t, "data/demo/dog.png")[0], knownTexts(t, "a cute dog", "a fast car")
	row, _ := must2(model(t).Tokenizer(t.Context()))(t).Tokenize("a fast car", model(t).ContextLength())
	for name, c := range map[string]struct {
		input any
		want  [][]float32
	}{
		"a text":            {"a cute dog", words[:1]},
		"texts":             {[]string{"a cute dog", "a fast car"}, words},
		"a data URI":        {dataURI(dogFile(t)), [][]float32{dog}},
		"an escaped URI":    {"data:image/png," + url.PathEscape(string(dogFile(t))), [][]float32{dog}},
		"Jina's objects":    {[]any{object{"text": "a cute dog"}, object{"image": dataURI(dogFile(t))}}, [][]float32{words[0], dog}},
		"base64 alone":      {[]any{object{"image": base64.RawURLEncoding.EncodeToString(dogFile(t))}}, [][]float32{dog}},
		"a row of tokens":   {row, words[1:]},
		"rows of tokens":    {[]any{row, row[:6]}, [][]float32{words[1], words[1]}},
		"all mixed":         {[]any{"a fast car", row, dataURI(dogFile(t))}, [][]float32{words[1], words[1], dog}},
		"a text like a URI": {[]any{object{"text": "data:image/png;base64,AAAA"}}, knownTexts(t, "data:image/png;base64,AAAA")},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, body := post(t, at+"/v1/embeddings", object{"input": c.input, "model": "emoji-64"})
			require.Equal(t, 200, code, "%s", body)
			a := parse[embeddingsOf[[]float32]](t, body)
			assert.Equal(t, "list", a.Object)
			assert.Equal(t, "emoji-64", a.Model)
			require.Len(t, a.Data, len(c.want))
			for i, want := range c.want {
				assert.Equal(t, i, a.Data[i].Index)
				near(t, want, a.Data[i].Embedding)
			}
			code, _, body = post(t, at+"/v1/embeddings", object{"input": c.input, "encoding_format": "base64", "dimensions": 128})
			require.Equal(t, 200, code, "%s", body)
			for i, e := range parse[embeddingsOf[string]](t, body).Data {
				near(t, c.want[i], fromBase64(t, e.Embedding))
			}
		})
	}
	_, _, body := post(t, at+"/v1/embeddings", object{"input": []string{"a", strings.Repeat("dog ", 100)}})
	a := parse[embeddingsOf[[]float32]](t, body)
	assert.False(t, a.Data[0].Truncated)
	assert.True(t, a.Data[1].Truncated)
	assert.Equal(t, 3+32, a.Usage.PromptTokens)
}

// must2 passes a value on and fails the test on an error.
func must2[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T { require.NoError(t, err); return v }
}

func fromBase64(t testing.TB, s string) (row []float32) {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(s)
	require.NoError(t, err)
	for ; len(data) > 0; data = data[4:] {
		row = append(row, math.Float32frombits(binary.LittleEndian.Uint32(data)))
	}
	return row
}

// One input that cannot be read fails alone: the others of its request have their features.
func TestOneBadInputFailsAlone(t *testing.T) {
	_, at := start(t, Options{})
	dog := knownImages(t, "data/demo/dog.png")[0]
	bad := dataURI([]byte("no image at all, but long enough to be one"))
	code, _, body := post(t, at+"/v1/embeddings", object{"input": []string{bad, dataURI(dogFile(t)), bad}})
	require.Equal(t, 200, code)
	a := parse[embeddingsOf[[]float32]](t, body)
	near(t, dog, a.Data[1].Embedding)
	for _, i := range []int{0, 2} {
		assert.Nil(t, a.Data[i].Embedding)
		assert.Equal(t, "image_unreadable", a.Data[i].Error.Code)
		assert.Contains(t, a.Data[i].Error.Message, "not an image")
	}
	code, _, body = post(t, at+"/v1/score", object{"images": []string{bad, dataURI(dogFile(t))}, "texts": "a cute dog"})
	require.Equal(t, 200, code)
	s := parse[scoreAnswer](t, body)
	assert.NotNil(t, s.Images[0].Error)
	assert.InDelta(t, clip.Cosine(dog, knownTexts(t, "a cute dog")[0]), s.Images[1].Cosine[0], 1e-5)
	code, _, body = post(t, at+"/v1/classify", object{"images": []string{bad, dataURI(dogFile(t))}, "labels": []string{"dog", "car"}})
	require.Equal(t, 200, code)
	c := parse[classifyAnswer](t, body)
	assert.NotNil(t, c.Images[0].Error)
	assert.Equal(t, "dog", c.Images[1].Labels[0].Label)
}

func TestScore(t *testing.T) {
	_, at := start(t, Options{})
	words, images := []string{"A cute dog", "A fast car"}, knownImages(t, "data/demo/dog.png", "data/demo/racing_car.png")
	code, _, body := post(t, at+"/v1/score", object{"texts": words, "images": []any{dataURI(dogFile(t)), object{"image": dataURI(carFile(t))}}})
	require.Equal(t, 200, code, "%s", body)
	a := parse[scoreAnswer](t, body)
	assert.Equal(t, words, a.Texts)
	scale, err := model(t).Scale()
	require.NoError(t, err)
	assert.InDelta(t, scale, a.LogitScale, 1e-9)
	for i, image := range images {
		sum := 0.0
		for j, text := range knownTexts(t, words...) {
			assert.InDelta(t, clip.Cosine(image, text), a.Images[i].Cosine[j], 1e-5)
			sum += a.Images[i].Prob[j]
		}
		assert.InDelta(t, 1, sum, 1e-9)
		assert.Greater(t, a.Images[i].Prob[i], 0.5)
	}
}

// Classes are those of clip's own classifier.
func TestClassify(t *testing.T) {
	_, at := start(t, Options{})
	labels := []string{"dog", "car", "pizza", "flag"}
	for _, templates := range []any{nil, "a photo of a {}.", []string{"a {}", "the {}"}, clip.ImageNet7, clip.ImageNet80} {
		code, _, body := post(t, at+"/v1/classify", object{"images": []string{dataURI(dogFile(t)), dataURI(carFile(t))}, "labels": labels, "templates": templates, "top_k": 3})
		require.Equal(t, 200, code, "%s", body)
		a := parse[classifyAnswer](t, body)
		spelled := []string{"{}"}
		switch v := templates.(type) {
		case string:
			spelled = must2(clip.Templates(v))(t)
		case []string:
			spelled = v
		}
		c, err := model(t).Classifier(context.Background(), labels, spelled...)
		require.NoError(t, err)
		images := knownImages(t, "data/demo/dog.png", "data/demo/racing_car.png")
		top, err := c.Top(images, 3)
		require.NoError(t, err)
		for i := range a.Images {
			require.Len(t, a.Images[i].Labels, 3)
			for k, prediction := range top[i] {
				assert.Equal(t, labels[prediction.Class], a.Images[i].Labels[k].Label)
				assert.InDelta(t, prediction.Probability, a.Images[i].Labels[k].Prob, 1e-4)
			}
		}
	}
}

func TestModelsAndHealth(t *testing.T) {
	s, at := start(t, Options{})
	code, _, body := get(t, at+"/v1/models")
	assert.Equal(t, 200, code)
	assert.Contains(t, string(body), `"id":"emoji-64"`)
	code, _, body = get(t, at+"/healthz")
	assert.Equal(t, 200, code)
	assert.Contains(t, string(body), `"status":"ok"`)
	assert.NotContains(t, string(body), "notice")
	s.notice = "It knows emoji."
	_, _, body = get(t, at+"/healthz")
	assert.Contains(t, string(body), `"notice":"It knows emoji."`)
	s.draining.Store(true)
	code, _, body = get(t, at+"/healthz")
	assert.Equal(t, 503, code)
	assert.Contains(t, string(body), `"status":"ending"`)
}

// --- the forms that other programs call ---

func TestWeaviate(t *testing.T) {
	_, at := start(t, Options{})
	for _, path := range []string{"/.well-known/live", "/.well-known/ready"} {
		code, _, _ := get(t, at+path)
		assert.Equal(t, 204, code)
	}
	code, _, body := get(t, at+"/meta")
	assert.Equal(t, 200, code)
	assert.True(t, json.Valid(body))
	plain := base64.StdEncoding.EncodeToString(dogFile(t))
	code, _, body = post(t, at+"/vectorize", object{"texts": []string{"a dog", "a car"}, "images": []string{plain}})
	require.Equal(t, 200, code, "%s", body)
	a := parse[weaviateAnswer](t, body)
	near(t, knownImages(t, "data/demo/dog.png")[0], a.ImageVectors[0])
	for i, want := range knownTexts(t, "a dog", "a car") {
		near(t, want, a.TextVectors[i])
	}
	code, _, body = post(t, at+"/vectorize", object{"texts": []string{"a dog"}})
	assert.Equal(t, 200, code)
	assert.Contains(t, string(body), `"imageVectors":[]`)
	code, _, body = post(t, at+"/vectorize", object{"images": []string{plain, "AAAAAAAAAAAAAAAAAAAAAA"}})
	assert.Equal(t, 422, code)
	assert.Contains(t, string(body), `{"error":"images[1]: not an image`)
}

func TestOllama(t *testing.T) {
	_, at := start(t, Options{})
	plain := base64.StdEncoding.EncodeToString(dogFile(t))
	code, _, body := post(t, at+"/api/embed", object{"model": "emoji-64:latest", "input": []string{"a dog"}, "images": []string{plain}, "keep_alive": "5m"})
	require.Equal(t, 200, code, "%s", body)
	a := parse[ollamaAnswer](t, body)
	require.Len(t, a.Embeddings, 2)
	near(t, knownTexts(t, "a dog")[0], a.Embeddings[0])
	near(t, knownImages(t, "data/demo/dog.png")[0], a.Embeddings[1])
	assert.Equal(t, 4, a.Tokens)
	assert.Positive(t, a.Total)
	code, _, body = post(t, at+"/api/embed", object{"model": "llava", "input": "a dog"})
	assert.Equal(t, 404, code)
	assert.Contains(t, string(body), `{"error":"the model \"llava\" is not served here`)
	code, _, body = post(t, at+"/api/embed", object{"model": "emoji-64", "input": strings.Repeat("dog ", 50), "truncate": false})
	assert.Equal(t, 400, code)
	assert.Contains(t, string(body), "truncate is false")
}

func TestOllamaOld(t *testing.T) {
	_, at := start(t, Options{})
	code, _, body := post(t, at+"/api/embeddings", object{"model": "emoji-64:latest", "prompt": "a dog", "keep_alive": "5m", "options": object{"num_ctx": 77}})
	require.Equal(t, 200, code, "%s", body)
	near(t, knownTexts(t, "a dog")[0], parse[ollamaOldAnswer](t, body).Embedding)
	code, _, body = post(t, at+"/api/embeddings", object{"model": "emoji-64"})
	assert.Equal(t, 200, code)
	assert.JSONEq(t, `{"embedding":[]}`, string(body), "no prompt asks whether the model is there")
	for name, c := range map[string]struct {
		body object
		code int
		says string
	}{
		"another model": {object{"model": "llava", "prompt": "a"}, 404, `{"error":"the model \"llava\" is not served here`},
		"a long prompt": {object{"prompt": strings.Repeat("x", 20_000)}, 413, "20000 bytes is more than 10000"},
		"no text":       {object{"prompt": []string{"a"}}, 400, "prompt is a JSON array"},
	} {
		code, _, body := post(t, at+"/api/embeddings", c.body)
		assert.Equal(t, c.code, code, name)
		assert.Contains(t, string(body), c.says, name)
	}
}

// shelf is an index of two rows.
type shelf [2][]float32

func (s shelf) Len() int { return 2 }
func (s shelf) Search(_ context.Context, row []float32, k int, f Filter) ([]Hit, error) {
	hits := []Hit{{Path: "photos/dog.png", Score: float32(clip.Cosine(row, s[0]))}, {Path: "photos/car & co.png", Score: float32(clip.Cosine(row, s[1]))}}
	if hits[1].Score > hits[0].Score {
		hits[0], hits[1] = hits[1], hits[0]
	}
	hits = slices.DeleteFunc(hits, func(h Hit) bool { return f.Folder != "" && !strings.HasPrefix(h.Path, f.Folder+"/") })
	return hits[:min(k, len(hits))], nil
}

func TestSearch(t *testing.T) {
	images := knownImages(t, "data/demo/dog.png", "data/demo/racing_car.png")
	_, at := start(t, Options{Indices: []Indexed{{Index: shelf{images[0], images[1]}}}, Thumbnail: func(_ context.Context, path string, _ func(int64) error) ([]byte, string, error) {
		return []byte("thumbnail of " + path), "image/png", nil
	}})
	for _, c := range []struct {
		query object
		first string
	}{
		{object{"text": "a cute dog"}, "photos/dog.png"},
		{object{"image": dataURI(carFile(t)), "top_k": 1}, "photos/car & co.png"},
	} {
		code, _, body := post(t, at+"/v1/search", c.query)
		require.Equal(t, 200, code, "%s", body)
		a := parse[searchAnswer](t, body)
		assert.Equal(t, c.first, a.Hits[0].Path)
		code, header, picture := get(t, at+"/"+a.Hits[0].Image)
		assert.Equal(t, 200, code)
		assert.Equal(t, "image/png", header.Get("Content-Type"))
		assert.Equal(t, "thumbnail of "+c.first, string(picture))
		forged := strings.Replace(a.Hits[0].Image, "photos", "private", 1)
		code, _, _ = get(t, at+"/"+forged)
		assert.Equal(t, 404, code, "a path that no search gave")
	}
	for _, q := range []object{{}, {"text": "a", "image": "b"}, {"text": "a", "top_k": -1}, {"text": "a", "top_k": 5000}} {
		code, _, _ := post(t, at+"/v1/search", q)
		assert.Equal(t, 400, code)
	}
	_, at = start(t, Options{})
	code, _, body := post(t, at+"/v1/search", object{"text": "a"})
	assert.Equal(t, 404, code)
	assert.Contains(t, string(body), "this server has no index")
}

func TestMethodsAndNames(t *testing.T) {
	_, at := start(t, Options{})
	code, header, body := get(t, at+"/v1/embeddings")
	assert.Equal(t, http.StatusMethodNotAllowed, code)
	assert.Equal(t, "POST", header.Get("Allow"))
	assert.Contains(t, string(body), "/v1/embeddings takes POST")
	code, _, body = get(t, at+"/v2/embeddings")
	assert.Equal(t, 404, code)
	assert.Contains(t, string(body), "nothing is served here")
}
