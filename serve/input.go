package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
)

// input is one text or picture of a request, or why it is none.
type input struct {
	text  *string
	ids   []int64 // or its tokens, the start and end tokens among them
	file  []byte  // or an encoded picture
	fetch string  // or where it is
	err   error
}

func textInput(s string) input { return input{text: &s} }

// pictureInput reads a data URI, an address or base64.
func pictureInput(s string) (in input) {
	switch {
	case isURL(s):
		in.fetch = s
	case isDataURI(s):
		in.file, in.err = decodeDataURI(s)
	default:
		in.file, in.err = decodeBase64(s)
	}
	return in
}

// elements walks through a JSON array, or takes a value that is no array as the only one. It stops
// at the most-th: the elements of an array of a million numbers would take many times its bytes.
func elements(param string, data []byte, most int, yield func(json.RawMessage) error) error {
	data = bytes.TrimSpace(data)
	if len(data) == 0 || string(data) == "null" {
		return nil
	}
	if data[0] != '[' {
		return yield(data)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return badRequest(param, param+" is no JSON array")
	}
	for n := 0; d.More(); n++ {
		if n == most {
			return tooMany(param, most)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return badRequest(param, param+" is no JSON array")
		}
		if err := yield(raw); err != nil {
			return err
		}
	}
	return nil
}

func tooMany(param string, most int) error {
	return refuse(http.StatusRequestEntityTooLarge, "too_many_inputs", param, fmt.Sprintf("%s has more than %d elements", param, most))
}

// embeddingInputs reads the input of /v1/embeddings: a text, an array of texts (a data URI among
// them is a picture), Jina's objects {"text": ...} and {"image": ...}, one array of token ids or
// several.
func embeddingInputs(data []byte, limits Limits, contextLength int) (list []input, err error) {
	if ids, ok := tokenArray(data, contextLength); ok {
		return []input{{ids: ids}}, nil
	}
	err = elements("input", data, limits.Inputs, func(raw json.RawMessage) error {
		in, err := embeddingInput(raw, contextLength)
		list = append(list, in)
		return err
	})
	if err == nil && len(list) == 0 {
		err = badRequest("input", "input is missing; a text, or an array of texts and pictures, is wanted")
	}
	return list, err
}

func embeddingInput(raw json.RawMessage, contextLength int) (input, error) {
	switch raw[0] {
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return input{}, badRequest("input", "a text in input is no JSON string")
		}
		if isDataURI(s) {
			return pictureInput(s), nil
		}
		return textInput(s), nil
	case '[':
		if ids, ok := tokenArray(raw, contextLength); ok {
			return input{ids: ids}, nil
		}
	case '{':
		var o struct {
			Text  *string `json:"text"`
			Image *string `json:"image"`
		}
		err := json.Unmarshal(raw, &o)
		switch {
		case err != nil || (o.Text == nil) == (o.Image == nil):
			return input{}, badRequest("input", `an object in input has either "text" or "image", a string`)
		case o.Text != nil:
			return textInput(*o.Text), nil
		}
		return pictureInput(*o.Image), nil
	}
	return input{}, badRequest("input", fmt.Sprintf(`input holds texts, data URIs, {"text": ...}, {"image": ...} and arrays of at most %d token ids`, contextLength))
}

// tokenArray reads an array of numbers, at most as many as a text has.
func tokenArray(data []byte, most int) (ids []int64, ok bool) {
	data = bytes.TrimSpace(data)
	if len(data) < 2 || data[0] != '[' || len(bytes.TrimSpace(data[1:])) == 0 {
		return nil, false
	}
	if c := bytes.TrimSpace(data[1:])[0]; c != '-' && (c < '0' || c > '9') {
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
		if err := json.Unmarshal(raw, &s); err != nil {
			return badRequest(param, param+" holds something that is no string")
		}
		list = append(list, s)
		return nil
	})
	return list, err
}

// pictures reads an array of pictures, or one: strings, or objects {"image": ...}.
func pictures(param string, data []byte, most int) (list []input, err error) {
	err = elements(param, data, most, func(raw json.RawMessage) error {
		var s *string
		var err error
		if raw[0] == '{' {
			var o struct {
				Image *string `json:"image"`
			}
			err, s = json.Unmarshal(raw, &o), o.Image
		} else {
			err = json.Unmarshal(raw, &s)
		}
		if err != nil || s == nil {
			return badRequest(param, param+` holds something that is neither a string nor {"image": ...}`)
		}
		list = append(list, pictureInput(*s))
		return nil
	})
	return list, err
}
