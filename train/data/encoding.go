package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// text reads characters and counts lines. It refuses what is not of its encoding, where a decoder
// would write U+FFFD in silence.
type text struct {
	in      *bufio.Reader
	from    string // the encoding, for messages
	decoded bool   // from another encoding than UTF-8
	line    int    // of the character that was read last, from 1
	ended   bool   // it was the line's last
}

// headBytes are looked at to tell a text's encoding and a table's separator.
const headBytes = 64 << 10

// newText reads a text of an encoding, by its name among the WHATWG's; "" is UTF-8, or UTF-16 where
// the first bytes say so. A byte order mark is left out.
func newText(in io.Reader, encoding string) (*text, error) {
	t := &text{in: bufio.NewReaderSize(in, headBytes), from: "UTF-8", ended: true}
	head, _ := t.in.Peek(headBytes)
	if encoding != "" {
		e, err := htmlindex.Get(encoding)
		if err != nil {
			return nil, &OptionError{"Encoding", fmt.Errorf("the encoding %q is not known", encoding), "%s is a name such as utf-8, utf-16le, windows-1252, shift_jis, euc-kr"}
		}
		if name, _ := htmlindex.Name(e); name != "utf-8" {
			t.decode(e.NewDecoder(), encoding)
			head = nil
		}
	} else if order, ok := utf16Order(head); ok {
		t.decode(unicode.UTF16(order, unicode.UseBOM).NewDecoder(), "UTF-16")
		head = nil
	}
	if bytes.HasPrefix(head, []byte("\ufeff")) || t.decoded && t.startsWithMark() {
		_, _, err := t.in.ReadRune()
		return t, err
	}
	return t, nil
}

func (t *text) decode(d transform.Transformer, name string) {
	t.in, t.from, t.decoded = bufio.NewReaderSize(transform.NewReader(t.in, d), headBytes), name, true
}

func (t *text) startsWithMark() bool {
	head, _ := t.in.Peek(3)
	return string(head) == "\ufeff"
}

// utf16Order tells UTF-16 by its byte order mark, or by the zero bytes of the Latin letters and
// digits that it begins with.
func utf16Order(head []byte) (order unicode.Endianness, ok bool) {
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}):
		return unicode.LittleEndian, true
	case bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return unicode.BigEndian, true
	}
	head = head[:min(len(head), 8)&^1]
	little, big := len(head) >= 4, len(head) >= 4
	for i := 0; i < len(head); i += 2 {
		little = little && head[i] != 0 && head[i+1] == 0
		big = big && head[i] == 0 && head[i+1] != 0
	}
	if big {
		return unicode.BigEndian, true
	}
	return unicode.LittleEndian, little
}

// next gives the next character.
func (t *text) next() (rune, error) {
	c, size, err := t.in.ReadRune()
	if err != nil {
		return 0, err
	}
	if t.ended {
		t.line++
	}
	t.ended = c == '\n'
	if c != utf8.RuneError || size > 1 && !t.decoded {
		return c, nil
	}
	first := byte(0)
	if t.in.UnreadRune() == nil {
		first, err = t.in.ReadByte()
	}
	if err != nil {
		return 0, err
	}
	return 0, t.foreign(first)
}

// peek reports whether c comes next.
func (t *text) peek(c byte) bool {
	b, _ := t.in.Peek(1)
	return len(b) == 1 && b[0] == c
}

// checkLine refuses a line that was read from in as bytes.
func (t *text) checkLine(line []byte, number int) error {
	t.line = number
	for rest := line; len(rest) > 0; {
		c, size := utf8.DecodeRune(rest)
		if c == utf8.RuneError && (size == 1 || t.decoded) {
			return t.foreign(rest[0])
		}
		rest = rest[size:]
	}
	return nil
}

// foreign is the error of a character that is not of the encoding.
func (t *text) foreign(first byte) error {
	err := fmt.Errorf("line %d is not %s", t.line, t.from)
	if !t.decoded {
		err = fmt.Errorf("line %d: the byte 0x%x is not %s", t.line, first, t.from)
	}
	return &OptionError{"Encoding", err, `%s names another, such as "windows-1252"`}
}

// maxCaption bounds a text of its own file, in bytes; the rest of a longer one is cut.
const maxCaption = 1 << 20

// readCaption reads a text of its own file, a .txt or a .json.
func readCaption(in io.Reader, encoding string) (string, error) {
	content, err := io.ReadAll(io.LimitReader(in, maxCaption+1))
	if err != nil {
		return "", err
	}
	content = whole(content)
	if _, wide := utf16Order(content); !wide && encoding == "" && utf8.Valid(content) {
		return string(bytes.TrimPrefix(content, []byte("\ufeff"))), nil
	}
	t, err := newText(bytes.NewReader(content), encoding)
	if err != nil {
		return "", err
	}
	var out []byte
	for {
		c, err := t.next()
		if errors.Is(err, io.EOF) {
			return string(out), nil
		}
		if err != nil {
			return "", err
		}
		out = utf8.AppendRune(out, c)
	}
}

// whole is a text of at most maxCaption bytes, without the beginning of a character that was cut.
func whole(content []byte) []byte {
	if len(content) <= maxCaption {
		return content
	}
	end := maxCaption
	for !utf8.RuneStart(content[end]) && end > maxCaption-utf8.UTFMax {
		end--
	}
	return content[:end]
}

// maxLine bounds a line of Lines, in bytes.
const maxLine = 1 << 20

// Lines yields the lines of a text, blank ones too. A line ends with \n, \r\n or \r. encoding is as
// Options.Encoding: "" is UTF-8, or UTF-16 where the first bytes say so, and a byte order mark is left
// out. What is not of the encoding is an [*OptionError] that names the line. An error ends the text.
func Lines(in io.Reader, encoding string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		t, err := newText(in, encoding)
		if err != nil {
			yield("", err)
			return
		}
		var line []byte
		begun := false
		for {
			c, err := t.next()
			switch {
			case errors.Is(err, io.EOF):
				if begun {
					yield(string(line), nil)
				}
				return
			case err != nil:
				yield("", err)
				return
			case len(line) >= maxLine:
				yield("", fmt.Errorf("a line is longer than %d bytes", maxLine))
				return
			}
			if c != '\n' && c != '\r' {
				line, begun = utf8.AppendRune(line, c), true
				continue
			}
			if c == '\r' && t.peek('\n') {
				_, _ = t.next() // it is there
			}
			t.ended = true
			if !yield(string(line), nil) {
				return
			}
			line, begun = line[:0], false
		}
	}
}
