package data

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"unicode/utf8"
)

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
