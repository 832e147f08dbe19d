package serve

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// form is what Immich's server sends: entries and an image or a text.
func form(t testing.TB, parts ...[2]string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		var err error
		if p[0] == "image" {
			var part interface{ Write([]byte) (int, error) }
			part, err = w.CreateFormFile("image", "blob")
			if err == nil {
				_, err = part.Write([]byte(p[1]))
			}
		} else {
			err = w.WriteField(p[0], p[1])
		}
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes(), w.FormDataContentType()
}

func TestImmich(t *testing.T) {
	_, at := start(t, Options{}, "ViT-B-32__openai")
	code, _, pong := get(t, at+"/ping")
	assert.Equal(t, 200, code)
	assert.Equal(t, "pong", string(pong))
	type answer struct {
		Clip                    string
		ImageHeight, ImageWidth int
		Detail                  string
	}
	predict := func(parts ...[2]string) (int, answer) {
		body, contentType := form(t, parts...)
		code, _, out := post(t, at+"/predict", body, "Content-Type", contentType)
		return code, parse[answer](t, out)
	}
	visual, textual := `{"clip":{"visual":{"modelName":"ViT-B-32__openai"}}}`, `{"clip":{"textual":{"modelName":"ViT-B-32__openai","options":{"language":"de"}}}}`
	code, a := predict([2]string{"entries", visual}, [2]string{"image", string(dogFile(t))})
	require.Equal(t, 200, code, a.Detail)
	near(t, knownImages(t, "data/demo/dog.png")[0], parse[[]float32](t, []byte(a.Clip))) // a JSON array in a JSON string
	assert.Equal(t, [2]int{256, 256}, [2]int{a.ImageHeight, a.ImageWidth})
	code, a = predict([2]string{"entries", visual}, [2]string{"image", string(testImage(t, "rgb_lzw.tif"))})
	require.Equal(t, 200, code, a.Detail)
	assert.Positive(t, a.ImageWidth)
	code, a = predict([2]string{"entries", textual}, [2]string{"text", "a dog"})
	require.Equal(t, 200, code, a.Detail)
	near(t, knownTexts(t, "a dog")[0], parse[[]float32](t, []byte(a.Clip)))
	assert.Zero(t, a.ImageHeight)

	for name, c := range map[string]struct {
		parts [][2]string
		code  int
		says  string
	}{
		"another task":   {[][2]string{{"entries", `{"facial-recognition":{"detection":{"modelName":"buffalo_l"}}}`}, {"image", "x"}}, 422, `no model for "facial-recognition"`},
		"another model":  {[][2]string{{"entries", `{"clip":{"visual":{"modelName":"ViT-L-14__openai"}}}`}, {"image", "x"}}, 404, `"ViT-L-14__openai" is not served here`},
		"no image":       {[][2]string{{"entries", visual}, {"text", "x"}}, 400, "clip.visual needs an image"},
		"a bad image":    {[][2]string{{"entries", visual}, {"image", "<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>"}}, 415, "SVG is not read"},
		"no entries":     {[][2]string{{"text", "x"}}, 422, "entries is JSON"},
		"entries no map": {[][2]string{{"entries", "[1]"}}, 422, "entries is JSON"},
		"too many parts": {[][2]string{{"a", ""}, {"b", ""}, {"c", ""}, {"d", ""}, {"e", ""}, {"f", ""}, {"g", ""}, {"h", ""}, {"i", ""}}, 400, "more than 8 parts"},
		"a long text":    {[][2]string{{"entries", textual}, {"text", strings.Repeat("x", 20_000)}}, 413, "more than 10000 bytes"},
	} {
		code, a := predict(c.parts...)
		assert.Equal(t, c.code, code, name)
		assert.Contains(t, a.Detail, c.says, name)
	}
	code, _, body := post(t, at+"/predict", object{"text": "x"})
	assert.Equal(t, 400, code)
	assert.Contains(t, string(body), "multipart/form-data")
}

// What is not CLIP's is passed on to Immich's own service, as it came, and its answer back.
func TestImmichUpstream(t *testing.T) {
	var got []string
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !assert.NoError(t, r.ParseMultipartForm(1<<20)) {
			return
		}
		image := ""
		if files := r.MultipartForm.File["image"]; len(files) > 0 {
			f, err := files[0].Open()
			if assert.NoError(t, err) {
				data, _ := io.ReadAll(f)
				image = string(data)
			}
		}
		got = []string{r.URL.Path, r.FormValue("entries"), image, r.FormValue("assetId")}
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.FormValue("entries"), "ocr") {
			w.WriteHeader(500)
		}
		_, _ = io.WriteString(w, `{"facial-recognition":[]}`)
	}))
	defer upstream.Close()
	at, err := url.Parse(upstream.URL)
	require.NoError(t, err)
	_, here := start(t, Options{ImmichUpstream: at})
	ask := func(parts ...[2]string) (int, string) {
		body, contentType := form(t, parts...)
		code, _, answer := post(t, here+"/predict", body, "Content-Type", contentType)
		return code, string(answer)
	}
	faces := `{"facial-recognition":{"detection":{"modelName":"buffalo_l"},"recognition":{"modelName":"buffalo_l"}}}`
	code, answer := ask([2]string{"entries", faces}, [2]string{"image", string(dogFile(t))})
	assert.Equal(t, 200, code)
	assert.Equal(t, `{"facial-recognition":[]}`, answer)
	assert.Equal(t, []string{"/predict", faces, string(dogFile(t)), ""}, got)
	code, _ = ask([2]string{"entries", `{"ocr":{}}`}, [2]string{"assetId", "7"})
	assert.Equal(t, 500, code, "its status, too")
	assert.Equal(t, []string{"/predict", `{"ocr":{}}`, "", "7"}, got)
	got = nil
	code, _ = ask([2]string{"entries", `{"clip":{"textual":{"modelName":"emoji-64"}}}`}, [2]string{"text", "a dog"})
	assert.Equal(t, 200, code)
	assert.Empty(t, got, "CLIP is answered here")
	upstream.Close()
	code, answer = ask([2]string{"entries", faces}, [2]string{"image", "x"})
	assert.Equal(t, 502, code)
	assert.Contains(t, answer, "does not answer")
}
