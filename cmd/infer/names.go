package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// rawStrings has kong take an argument's bytes as they are. Its own mapper goes through JSON, which
// writes U+FFFD in place of what is not UTF-8, and file names may be anything.
var rawStrings = kong.KindMapper(reflect.String, kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
	t, err := ctx.Scan.PopValue("string")
	if err == nil {
		target.SetString(fmt.Sprint(t.Value))
	}
	return err
}))

// fileName is a path in JSON. A byte that is not UTF-8 is written as Python's os.fsdecode has it, half
// a surrogate pair (\udce9 for 0xe9), so that every name can be told from every other and read back.
type fileName string

func (n fileName) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('"')
	for rest := string(n); rest != ""; {
		c, size := utf8.DecodeRuneInString(rest)
		switch {
		case c == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\udc%02x`, rest[0])
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(c))
		case c < ' ' || c == 0x7f || c == 0x2028 || c == 0x2029:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteString(rest[:size])
		}
		rest = rest[size:]
	}
	b.WriteByte('"')
	return []byte(b.String()), nil
}

// quoted is a file's name as a table and a message have it: as it is or, where that would break a
// line, reach the terminal as a command, or hide a byte, as a quoted Go string.
func quoted(name string) string {
	if !utf8.ValidString(name) || strings.HasPrefix(name, `"`) || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return strconv.Quote(name)
	}
	return name
}

// cell is a text, such as a class, as a table has it: as it is or, where that would break a line or reach the
// terminal as a command, as a quoted Go string.
func cell(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return strconv.Quote(text)
	}
	return text
}

// printable escapes what a message from elsewhere has of control characters and broken bytes.
func printable(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return text
	}
	var b strings.Builder
	for rest := text; rest != ""; {
		c, size := utf8.DecodeRuneInString(rest)
		switch {
		case c == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, rest[0])
		case !unicode.IsPrint(c):
			b.WriteString(strings.Trim(strconv.QuoteRune(c), "'"))
		default:
			b.WriteString(rest[:size])
		}
		rest = rest[size:]
	}
	return b.String()
}

// onTerminal reports whether people read w as it is written.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// printNames prints a name a line, quoted on a terminal where need be and exact in a pipe; with null
// each ends with a zero byte, for xargs -0.
func printNames(w io.Writer, null bool, names ...string) error {
	end, terminal := "\n", onTerminal(w)
	if null {
		end = "\x00"
	}
	for _, name := range names {
		if terminal && !null {
			name = quoted(name)
		}
		if _, err := io.WriteString(w, name+end); err != nil {
			return err
		}
	}
	return nil
}
