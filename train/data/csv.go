package data

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// CheckSeparator tells whether an Options.Separator is one character that can part columns; `\t` is a tab.
func CheckSeparator(s string) error {
	_, err := separatorOf(s)
	return err
}

func separatorOf(s string) (rune, error) {
	separator, size := utf8.DecodeRuneInString(strings.ReplaceAll(s, `\t`, "\t"))
	if size == 0 || strings.ReplaceAll(s, `\t`, "\t")[size:] != "" {
		return 0, fmt.Errorf("Separator %q is not one character", s)
	}
	if strings.ContainsRune("\"\r\n\ufffd", separator) || separator == 0 { // encoding/csv has no such separator
		return 0, fmt.Errorf("Separator %q cannot part columns", s)
	}
	return separator, nil
}

// readCSV reads a table with a header line.
func readCSV(in io.Reader, t *table, o Options) error {
	separator, err := separatorOf(o.Separator)
	if err != nil {
		return err
	}
	lines := csv.NewReader(in)
	lines.Comma = separator
	lines.LazyQuotes = separator == '\t'
	header, err := lines.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty: a header line is wanted")
	}
	if err != nil {
		return err
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	column := func(option, key string) (int, error) {
		i := slices.Index(header, key)
		if i < 0 {
			return i, &OptionError{option, fmt.Errorf("it has no column %q, only %q", key, header), "%s names another"}
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
	rows := 0
	for ; ; rows++ {
		line, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if caption < 0 {
			t.add(line[image])
		} else {
			t.add(line[image], line[caption])
		}
	}
	if rows == 0 {
		return errors.New("it has a header and no rows")
	}
	return nil
}
