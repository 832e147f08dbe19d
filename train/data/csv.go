package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// CheckSeparator reports whether an Options.Separator is one character that can part columns; `\t` is
// a tab.
func CheckSeparator(s string) error {
	_, err := separatorOf(s)
	return err
}

func separatorOf(s string) (rune, error) {
	separator, size := utf8.DecodeRuneInString(strings.ReplaceAll(s, `\t`, "\t"))
	if size == 0 || strings.ReplaceAll(s, `\t`, "\t")[size:] != "" {
		//lint:ignore ST1005 Separator is a field of Options
		return 0, fmt.Errorf("Separator %q is not one character", s)
	}
	if strings.ContainsRune("\"\r\n\ufffd", separator) || separator == 0 {
		//lint:ignore ST1005 Separator is a field of Options
		return 0, fmt.Errorf("Separator %q cannot part columns", s)
	}
	return separator, nil
}

// otherSeparators are tried where the default does not part a header.
const otherSeparators = ",;|"

// readCSV reads a table with a header line.
func readCSV(ctx context.Context, in *text, t *table, o Options) error {
	separator, err := separatorOf(o.Separator)
	if err != nil {
		return err
	}
	if separator == '\t' {
		separator = in.separator(o.ImageKey)
	}
	rows := &csvRows{text: in, separator: separator}
	header, err := rows.next()
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty; the first line must name the columns")
	}
	if err != nil {
		return err
	}
	names := make([]string, len(header))
	for i, name := range header {
		names[i] = string(name)
	}
	column := func(option, key string) (int, error) {
		i := slices.Index(names, key)
		if i < 0 {
			return i, &OptionError{option, fmt.Errorf("it has no column %q, only %q", key, names), "%s names another"}
		}
		return i, nil
	}
	image, err := column("ImageKey", o.ImageKey)
	if err != nil {
		return err
	}
	caption, err := column("CaptionKey", o.CaptionKey)
	if err != nil && !o.mayLackCaptions() {
		return err
	}
	for n := 0; ; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		row, err := rows.next()
		if errors.Is(err, io.EOF) && n == 0 {
			return errors.New("it has a header and no rows")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(row) > len(names) {
			return fmt.Errorf("line %d has %d fields and the header has %d", rows.began, len(row), len(names))
		}
		field := func(i int) string { // a short row's last fields are empty
			if i < len(row) {
				return string(row[i])
			}
			return ""
		}
		if caption < 0 {
			t.add(field(image))
		} else {
			t.add(field(image), field(caption))
		}
	}
}

// checkEvery is how many rows are read between two looks at the context.
const checkEvery = 1024

// separator is the one that parts the header so that it has the column key; a tab where none does.
func (t *text) separator(key string) rune {
	head, _ := t.in.Peek(headBytes)
	for _, separator := range "\t" + otherSeparators {
		if start, err := newText(bytes.NewReader(head), "utf-8"); err == nil {
			rows := &csvRows{text: start, separator: separator}
			header, err := rows.next()
			if err == nil && slices.ContainsFunc(header, func(name []byte) bool { return string(name) == key }) {
				return separator
			}
		}
	}
	return '\t'
}

// longestRow bounds a row, in bytes.
const longestRow = 16 << 20

// csvRows reads the rows of a table as pandas' C parser does (pandas/_libs/src/parser/tokenizer.c):
// a quotation mark quotes only at the beginning of a field, what follows the closing one is taken
// as it is, and a doubled one stands for itself; a line ends with \n, \r\n or \r; lines of nothing
// but blanks are passed over.
type csvRows struct {
	*text
	separator rune
	began     int    // line of the row
	buf       []byte // the fields' characters
	ends      []int  // of each field in buf
	fields    [][]byte
}

// What the parser is in.
const (
	atField       = iota // the beginning of a field
	inField              // one without quotation marks, or after the closing one
	inQuotes             // a quoted one
	quoteInQuotes        // after a quotation mark in a quoted one
)

// next gives the fields of the next row, until the next call; io.EOF where there is none.
func (r *csvRows) next() ([][]byte, error) {
	r.buf, r.ends = r.buf[:0], r.ends[:0]
	state, blank, opened := atField, true, 0
	for {
		c, err := r.text.next()
		if blank && len(r.buf) == 0 {
			r.began = r.line
		}
		switch {
		case errors.Is(err, io.EOF) && state == inQuotes:
			return nil, fmt.Errorf("line %d: a quotation mark opens a field and none closes it", opened)
		case errors.Is(err, io.EOF) && blank:
			return nil, err
		case errors.Is(err, io.EOF):
			return r.row(), nil
		case err != nil:
			return nil, err
		case len(r.buf) >= longestRow && state == inQuotes:
			return nil, fmt.Errorf("line %d: a quotation mark opens a field of more than %d bytes; is it ever closed?", opened, longestRow)
		case len(r.buf) >= longestRow:
			return nil, fmt.Errorf("line %d: a row has more than %d bytes", r.began, longestRow)
		}
		newline := c == '\n' || c == '\r'
		switch {
		case newline && state != inQuotes:
			if c == '\r' && r.peek('\n') {
				if _, err := r.text.next(); err != nil {
					return nil, err
				}
			}
			r.ended = true
			if !blank {
				return r.row(), nil
			}
			r.buf, state = r.buf[:0], atField
		case state == inQuotes && c == '"':
			state = quoteInQuotes
		case state == inQuotes:
			if c == '\r' && !r.peek('\n') {
				r.ended = true
			}
			r.buf = utf8.AppendRune(r.buf, c)
		case state == quoteInQuotes && c == '"':
			r.buf, state = append(r.buf, '"'), inQuotes
		case c == r.separator:
			r.ends, state, blank = append(r.ends, len(r.buf)), atField, false
		case state == atField && c == '"':
			state, blank, opened = inQuotes, false, r.line
		default:
			r.buf, state, blank = utf8.AppendRune(r.buf, c), inField, blank && (c == ' ' || c == '\t')
		}
	}
}

// row ends the last field and gives all.
func (r *csvRows) row() [][]byte {
	r.ends, r.fields = append(r.ends, len(r.buf)), r.fields[:0]
	from := 0
	for _, to := range r.ends {
		r.fields = append(r.fields, r.buf[from:to])
		from = to
	}
	return r.fields
}
