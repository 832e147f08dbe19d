package serve

import (
	"encoding/json"
	"fmt"
	"strings"
)

// vLLM's form of /v1/embeddings: a conversation in place of an input, which gives one row. Of a
// CLIP model vLLM takes one image, or texts, and refuses both together
// (vllm/model_executor/models/clip.py), since no tower reads both; it joins texts by its default
// template (chat_templates/template_basic.jinja).

type conversation struct {
	parts    []string // the texts of the message that is being read
	messages []string // of those before, the parts of each joined
	image    *input
}

// conversationInput reads messages, which have at most so many parts.
func conversationInput(data []byte, most int) (input, error) {
	var c conversation
	n := 0
	err := elements("messages", data, most, func(raw json.RawMessage) error {
		var m struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
			Name    string          `json:"name"`
		}
		if raw[0] != '{' {
			return badRequest("messages", `a message is an object {"role": "user", "content": ...}`)
		}
		if err := splitObject(raw, &m); err != nil {
			return err
		}
		c.parts = nil
		err := elements("content", m.Content, most, func(raw json.RawMessage) error {
			if n++; n > most {
				return tooMany("messages", most)
			}
			return c.part(raw)
		})
		if len(c.parts) > 0 {
			c.messages = append(c.messages, strings.Join(c.parts, "\n"))
		}
		return err
	})
	text := strings.Join(c.messages, "")
	switch {
	case err != nil:
		return input{}, err
	case n == 0:
		return input{}, badRequest("messages", "messages have no content; send a text or one image")
	case c.image == nil:
		return textInput(text), nil
	case strings.TrimSpace(text) != "":
		return input{}, badRequest("messages", "messages have a text beside an image; a row is of one of them, and two requests, or input, give both rows")
	}
	return *c.image, nil
}

// part reads an element of a message's content.
func (c *conversation) part(raw json.RawMessage) error {
	if raw[0] == '"' {
		var s string
		err := json.Unmarshal(raw, &s)
		c.parts = append(c.parts, s)
		return err
	}
	var p struct {
		Type  string          `json:"type"`
		Text  *string         `json:"text"`
		Image json.RawMessage `json:"image_url"`
	}
	if raw[0] != '{' {
		return badRequest("content", `content is a text, or has parts {"type": "text", "text": ...} and {"type": "image_url", "image_url": {"url": ...}}`)
	}
	if err := splitObject(raw, &p); err != nil {
		return err
	}
	switch {
	case p.Type == "text" && p.Text != nil:
		c.parts = append(c.parts, *p.Text)
	case p.Type == "image_url":
		url, ok := imageURL(p.Image)
		if !ok {
			return badRequest("image_url", `image_url is {"url": ...}, a data URI`)
		}
		if c.image != nil {
			return badRequest("messages", "messages have more than one image; a row is of one, and input takes an array of them")
		}
		in := imageInput(url)
		c.image = &in
	default:
		return badRequest("content", fmt.Sprintf("a part of the type %.20q is not read; text and image_url are", p.Type))
	}
	return nil
}

// imageURL reads OpenAI's {"url": ...}, or the address alone, which vLLM takes too.
func imageURL(raw json.RawMessage) (url []byte, ok bool) {
	if len(raw) > 0 && raw[0] == '{' {
		var o struct {
			URL    json.RawMessage `json:"url"`
			Detail string          `json:"detail"` // of no effect: an image has one size here
		}
		if splitObject(raw, &o) != nil {
			return nil, false
		}
		raw = o.URL
	}
	if len(raw) == 0 {
		return nil, false
	}
	return stringOf(raw)
}
