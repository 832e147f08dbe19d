package serve

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// said is a conversation of messages with these contents.
func said(contents ...any) (messages []any) {
	for _, c := range contents {
		messages = append(messages, object{"role": "user", "content": c})
	}
	return messages
}

func word(text string) object { return object{"type": "text", "text": text} }
func imagePart(url string) object {
	return object{"type": "image_url", "image_url": object{"url": url}}
}

// A conversation of vLLM's gives one row: of its image, or of its texts as vLLM joins them.
func TestMessages(t *testing.T) {
	_, at := start(t, Options{})
	dog := knownImages(t, "data/demo/dog.png")[0]
	for name, c := range map[string]struct {
		messages any
		want     []float32
	}{
		"an image":                {said([]any{imagePart(dataURI(dogFile(t)))}), dog},
		"with an empty text":      {said([]any{imagePart(dataURI(dogFile(t))), word(" ")}), dog},
		"its address alone":       {said([]any{object{"type": "image_url", "image_url": dataURI(dogFile(t))}}), dog},
		"content that is a text":  {said("a cute dog"), knownTexts(t, "a cute dog")[0]},
		"a part that is a text":   {said([]any{word("a cute dog")}), knownTexts(t, "a cute dog")[0]},
		"parts":                   {said([]any{word("a cute"), "dog"}), knownTexts(t, "a cute\ndog")[0]},
		"messages":                {said("a cute ", []any{word("dog")}), knownTexts(t, "a cute dog")[0]},
		"a data URI told as text": {said("data:image/png;base64,AAAA"), knownTexts(t, "data:image/png;base64,AAAA")[0]},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, body := post(t, at+"/v1/embeddings", object{"model": "emoji-64", "messages": c.messages, "encoding_format": "float", "add_generation_prompt": false})
			require.Equal(t, 200, code, "%s", body)
			a := parse[embeddingsOf[[]float32]](t, body)
			require.Len(t, a.Data, 1)
			near(t, c.want, a.Data[0].Embedding)
			code, _, body = post(t, at+"/v1/embeddings", object{"messages": c.messages, "encoding_format": "base64"})
			require.Equal(t, 200, code, "%s", body)
			near(t, c.want, fromBase64(t, parse[embeddingsOf[string]](t, body).Data[0].Embedding))
		})
	}
}

func TestMessagesRefused(t *testing.T) {
	_, at := start(t, Options{Limits: Limits{Inputs: 4}})
	dog := dataURI(dogFile(t))
	for name, c := range map[string]struct {
		body object
		code int
		says string
	}{
		"a text beside an image": {object{"messages": said([]any{imagePart(dog), word("Represent the given image.")})}, 400, "a text beside an image"},
		"two images":             {object{"messages": said([]any{imagePart(dog)}, []any{imagePart(dog)})}, 400, "more than one image"},
		"input, too":             {object{"messages": said("a"), "input": "b"}, 400, "input and messages"},
		"no messages":            {object{"messages": []any{}}, 400, "messages have no content"},
		"no content":             {object{"messages": []any{object{"role": "user"}}}, 400, "messages have no content"},
		"no message":             {object{"messages": []any{"a"}}, 400, "a message is an object"},
		"a number":               {object{"messages": said(3)}, 400, "content is a text"},
		"another type":           {object{"messages": said([]any{object{"type": "input_audio", "input_audio": object{}}})}, 400, `the field \"input_audio\" is not known here`},
		"no address":             {object{"messages": said([]any{object{"type": "image_url"}})}, 400, "image_url is"},
		"an address":             {object{"messages": said([]any{imagePart("https://example.org/a.png")})}, 403, "fetches no addresses"},
		"a bad image":            {object{"messages": said([]any{imagePart(dataURI([]byte("no image at all, but long enough")))})}, 422, "not an image"},
		"too many messages":      {object{"messages": said("a", "b", "c", "d", "e")}, 413, "more than 4 elements"},
		"too many parts":         {object{"messages": said([]any{"a", "b"}, []any{"c", "d"}, "e")}, 413, "more than 4 elements"},
	} {
		code, _, body := post(t, at+"/v1/embeddings", c.body)
		assert.Equal(t, c.code, code, "%s: %s", name, body)
		assert.Contains(t, string(body), c.says, name)
	}
}
