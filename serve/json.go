package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
)

// A request's body is scanned once for validity and then split where it lies: an image in base64
// is most of its bytes, and encoding/json would copy and scan it five times.

var errNoObject = badRequest("", "the body is not a JSON object")

// readObject reads a JSON object into the struct that v points to. A field that the struct lacks
// is refused by its name; json.RawMessage fields share data's memory.
func readObject(data []byte, v any) error {
	if data = bytes.TrimSpace(data); len(data) == 0 || data[0] != '{' || !json.Valid(data) {
		return errNoObject
	}
	return splitObject(data, v)
}

// splitObject is readObject for an object that is known to be valid JSON.
func splitObject(data []byte, v any) error {
	into := reflect.ValueOf(v).Elem()
	for data = skip(data[1:]); data[0] != '}'; {
		var raw []byte
		raw, data = cut(data)
		var name string
		if err := json.Unmarshal(raw, &name); err != nil {
			return errNoObject
		}
		raw, data = cut(skip(skip(data)[1:])) // behind the colon
		if data = skip(data); data[0] == ',' {
			data = skip(data[1:])
		}
		field, ok := fieldOf(into, name)
		if !ok {
			return badRequest(name, fmt.Sprintf("the field %.50q is not known here; the known ones are %s", name, fieldNames(into.Type())))
		}
		if r, ok := field.Addr().Interface().(*json.RawMessage); ok {
			*r = raw
			continue
		}
		err := json.Unmarshal(raw, field.Addr().Interface())
		var mistyped *json.UnmarshalTypeError
		if errors.As(err, &mistyped) {
			return badRequest(name, fmt.Sprintf("%s is a JSON %s, which it cannot be", name, mistyped.Value))
		} else if err != nil {
			return errNoObject
		}
	}
	return nil
}

func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for _, f := range reflect.VisibleFields(v.Type()) { // those of embedded structs too
		if f.Tag.Get("json") == name && !f.Anonymous {
			return v.FieldByIndex(f.Index), true
		}
	}
	return reflect.Value{}, false
}

func fieldNames(t reflect.Type) string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if !f.Anonymous {
			names = append(names, f.Tag.Get("json"))
		}
	}
	return strings.Join(names, ", ")
}

// elements walks through a valid JSON array, or takes a value that is not an array as the only one. It
// stops at the most-th: the elements of an array of a million numbers would take many times its
// bytes.
func elements(param string, data []byte, most int, yield func(json.RawMessage) error) error {
	if data = skip(data); len(data) == 0 || string(data) == "null" {
		return nil
	}
	if data[0] != '[' {
		return yield(data)
	}
	data = skip(data[1:])
	for n := 0; data[0] != ']'; n++ {
		if n == most {
			return tooMany(param, most)
		}
		var raw []byte
		raw, data = cut(data)
		if err := yield(raw); err != nil {
			return err
		}
		if data = skip(data); data[0] == ',' {
			data = skip(data[1:])
		}
	}
	return nil
}

func tooMany(param string, most int) error {
	return refuse(http.StatusRequestEntityTooLarge, "too_many_inputs", param, fmt.Sprintf("%s has more than %d elements", param, most))
}

// skip cuts white space off the front.
func skip(data []byte) []byte { return bytes.TrimLeft(data, " \t\r\n") }

// cut takes the value at the front of valid JSON.
func cut(data []byte) (value, rest []byte) {
	switch data[0] {
	case '"':
		n := stringEnd(data)
		return data[:n], data[n:]
	case '{', '[':
		depth := 0
		for i := 0; ; {
			switch data[i] {
			case '"':
				i += stringEnd(data[i:])
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return data[:i+1], data[i+1:]
				}
			}
			i++
		}
	}
	n := bytes.IndexAny(data, ",]} \t\r\n")
	if n < 0 {
		n = len(data)
	}
	return data[:n], data[n:]
}

// stringEnd is the length of the JSON string at the front of data.
func stringEnd(data []byte) int {
	for i := 1; ; {
		i += bytes.IndexByte(data[i:], '"') + 1
		escapes := 0
		for data[i-2-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
	}
}

// plainString is the content of a JSON string where it lies, if nothing in it is escaped.
func plainString(raw []byte) (content []byte, ok bool) {
	content = raw[1 : len(raw)-1]
	return content, bytes.IndexByte(content, '\\') < 0
}
