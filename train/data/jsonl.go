package data

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// longestLine bounds a line of JSON Lines, in bytes.
const longestLine = 16 << 20

// readJSONL reads a table of an object a line. A caption is a text, a number, or a list of them.
func readJSONL(ctx context.Context, in *text, t *table, o Options) error {
	lines := bufio.NewScanner(in.in)
	lines.Buffer(make([]byte, 0, 64<<10), longestLine)
	number := 0
	for lines.Scan() {
		number++
		text := bytes.TrimSpace(lines.Bytes())
		if err := in.checkLine(text, number); err != nil {
			return err
		}
		if number%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if len(text) == 0 {
			continue
		}
		var row map[string]json.RawMessage
		if err := json.Unmarshal(text, &row); err != nil || row == nil {
			return fmt.Errorf("line %d is not a JSON object such as {\"image\": \"a.jpg\", \"caption\": \"a dog\"}", number)
		}
		raw, err := field(row, "ImageKey", o.ImageKey, imageKeys)
		if err != nil {
			return within(fmt.Sprintf("line %d", number), err)
		}
		var image string
		if err := json.Unmarshal(raw, &image); err != nil {
			return fmt.Errorf("line %d: the image is %s; it must be a path", number, brief(raw))
		}
		var captions []string
		if raw, err = field(row, "CaptionKey", o.CaptionKey, captionKeys); err == nil {
			captions, err = captionsOf(raw)
		} else if o.mayLackCaptions() {
			err = nil
		}
		if err != nil {
			return within(fmt.Sprintf("line %d", number), err)
		}
		t.add(image, captions...)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d bytes", number+1, longestLine)
	}
	if lines.Err() == nil && len(t.images)+t.leftOut == 0 {
		return errors.New("it is empty; each line must be a JSON object")
	}
	return lines.Err()
}

// field is the value under key, or under the first of the known ones where key is the default.
func field(row map[string]json.RawMessage, option, key string, known []string) (json.RawMessage, error) {
	for _, key := range candidates(key, known) {
		if value, ok := row[key]; ok {
			return value, nil
		}
	}
	return nil, &OptionError{option, fmt.Errorf("it has no key %q, only %q", key, slices.Sorted(maps.Keys(row))), "%s names another"}
}

// captionsOf reads a caption, or a list of them. null and empty lists are none. Numbers are taken
// as open_clip takes them, by their digits.
func captionsOf(raw json.RawMessage) ([]string, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if string(raw) == "null" {
			return nil, nil
		}
		if halfPair(text, raw) {
			return nil, fmt.Errorf("the caption is %s, which has half of a surrogate pair", brief(raw))
		}
		return []string{text}, nil
	}
	var number json.Number
	if json.Unmarshal(raw, &number) == nil {
		return []string{number.String()}, nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, fmt.Errorf("the caption is %s; it must be a text or a list of texts", brief(raw))
	}
	var out []string
	for _, item := range list {
		if len(item) > 0 && item[0] == '[' {
			return nil, fmt.Errorf("the caption is %s; it must be a text or a list of texts", brief(raw))
		}
		one, err := captionsOf(item)
		if err != nil {
			return nil, err
		}
		out = append(out, one...)
	}
	return out, nil
}

// halfPair tells of a \uD800 to \uDFFF in JSON that is none of a pair: encoding/json writes U+FFFD
// for it.
func halfPair(text string, raw json.RawMessage) bool {
	return strings.ContainsRune(text, utf8.RuneError) && !bytes.ContainsRune(raw, utf8.RuneError) &&
		!bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`))
}

// brief is JSON short enough for a message.
func brief(raw json.RawMessage) string {
	if len(raw) > 60 {
		return string(bytes.ToValidUTF8(raw[:60], nil)) + "..."
	}
	return string(raw)
}
