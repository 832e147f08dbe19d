package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// input is one text or image of a request, or why it is none.
type input struct {
	text  *string
	ids   []int64 // or its tokens, the start and end tokens among them
	file  []byte  // or an encoded image
	fetch string  // or where it is
	err   error
}

// textInput is a text. An image that was given in its place is refused, so that no client takes
// the embedding of its base64 for the image's.
func textInput(s string) input {
	if holdsImage([]byte(s)) {
		return input{err: badRequest("", `a text holds an image in base64; give it as an image: {"image": ...}, or a data URI in input`)}
	}
	return input{text: &s}
}

// imageInput reads a data URI, an address or base64.
func imageInput(s []byte) (in input) {
	s = bytes.TrimSpace(s)
	switch u, ok := parseDataURI(s); {
	case isURL(s):
		in.fetch = string(s)
	case ok:
		in.file, in.err = u.decode()
	case looksLikeDataURI(s):
		in.err = errNoComma
	default:
		in.file, in.err = decodeBase64(s)
	}
	return in
}

// stringOf is the content of a JSON string, for an image: of invalid UTF-8 it makes no U+FFFD.
func stringOf(raw json.RawMessage) (content []byte, ok bool) {
	if raw[0] != '"' {
		return nil, false
	}
	if content, ok := plainString(raw); ok {
		return content, true
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return []byte(s), err == nil
}

// modalities of an embeddings request: infinity's field. Without it each string tells what it is.
const (
	anyModality   = ""
	textModality  = "text"
	imageModality = "image"
)

// embeddingInputs reads the input of /v1/embeddings: a text, an array of texts (a data URI among
// them is an image), Jina's objects {"text": ...} and {"image": ...}, one array of token ids or
// several.
func embeddingInputs(data []byte, modality string, limits Limits, contextLength int) (list []input, err error) {
	if ids, ok := tokenArray(data, contextLength); ok && modality != imageModality {
		return []input{{ids: ids}}, nil
	}
	err = elements("input", data, limits.Inputs, func(raw json.RawMessage) error {
		in, err := embeddingInput(raw, modality, contextLength)
		list = append(list, in)
		return err
	})
	if err == nil && len(list) == 0 {
		err = badRequest("input", "input is missing; it must be a text, or an array of texts and images")
	}
	return list, err
}

func embeddingInput(raw json.RawMessage, modality string, contextLength int) (input, error) {
	switch raw[0] {
	case '"':
		s, ok := stringOf(raw)
		switch {
		case !ok:
			return input{}, badRequest("input", "a text in input is not a JSON string")
		case modality == imageModality, modality == anyModality && (isDataURIOfImage(s) || holdsImage(s)):
			return imageInput(s), nil
		}
		var text string // with U+FFFD in the place of invalid UTF-8
		if err := json.Unmarshal(raw, &text); err != nil {
			return input{}, badRequest("input", "a text in input is not a JSON string")
		}
		return textInput(text), nil
	case '[':
		if ids, ok := tokenArray(raw, contextLength); ok && modality != imageModality {
			return input{ids: ids}, nil
		}
	case '{':
		var o struct {
			Text  *string         `json:"text"`
			Image json.RawMessage `json:"image"`
			Bytes json.RawMessage `json:"bytes"` // Jina's older names of an image
			URL   json.RawMessage `json:"url"`
		}
		if err := splitObject(raw, &o); err != nil {
			return input{}, err
		}
		for _, older := range []json.RawMessage{o.Bytes, o.URL} {
			if len(o.Image) == 0 {
				o.Image = older
			}
		}
		image, isString := []byte(nil), false
		if len(o.Image) > 0 {
			image, isString = stringOf(o.Image)
		}
		switch {
		case (o.Text == nil) == (len(o.Image) == 0), len(o.Image) > 0 && !isString:
			return input{}, badRequest("input", `an object in input has either "text" or "image", a string`)
		case o.Text != nil && modality == imageModality, isString && modality == textModality:
			return input{}, badRequest("modality", fmt.Sprintf("modality is %q, and input holds the other kind", modality))
		case o.Text != nil:
			return textInput(*o.Text), nil
		}
		return imageInput(image), nil
	}
	if modality == imageModality {
		return input{}, badRequest("input", `with "modality": "image" input holds addresses, data URIs and base64 of images`)
	}
	return input{}, badRequest("input", fmt.Sprintf(`input holds texts, data URIs, {"text": ...}, {"image": ...} and arrays of at most %d token ids`, contextLength))
}

// tokenArray reads an array of numbers, at most as many as a text has.
func tokenArray(data []byte, most int) (ids []int64, ok bool) {
	if data = skip(data); len(data) < 2 || data[0] != '[' {
		return nil, false
	}
	if c := skip(data[1:])[0]; c != '-' && (c < '0' || c > '9') {
		return nil, false
	}
	err := elements("input", data, most, func(raw json.RawMessage) error {
		var id int64
		err := json.Unmarshal(raw, &id)
		ids = append(ids, id)
		return err
	})
	return ids, err == nil
}

// texts reads an array of strings, or one.
func texts(param string, data []byte, most int) (list []string, err error) {
	err = elements(param, data, most, func(raw json.RawMessage) error {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil || raw[0] != '"' {
			return badRequest(param, param+" holds something that is not a string")
		}
		list = append(list, s)
		return nil
	})
	return list, err
}

// images reads an array of images, or one: strings, or objects {"image": ...}.
func images(param string, data []byte, most int) (list []input, err error) {
	err = elements(param, data, most, func(raw json.RawMessage) error {
		if raw[0] == '{' {
			var o struct {
				Image json.RawMessage `json:"image"`
			}
			if err := splitObject(raw, &o); err != nil {
				return err
			}
			raw = o.Image
		}
		ok, s := false, []byte(nil)
		if len(raw) > 0 {
			s, ok = stringOf(raw)
		}
		if !ok {
			return badRequest(param, param+` holds something that is neither a string nor {"image": ...}`)
		}
		list = append(list, imageInput(s))
		return nil
	})
	return list, err
}
