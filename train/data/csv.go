package data

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

type rows struct {
	dir    string // of the CSV file
	images []string
	texts  []string
}

// OpenCSV reads a table with a header line. A picture's path is taken as open_clip takes it, from the working directory,
// and if there is no such file, from the table's own directory.
func OpenCSV(name string, o CSVOptions) (Dataset, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	r, err := readCSV(f, o)
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", name, err)
	}
	r.dir = filepath.Dir(name)
	return r, nil
}

// CheckSeparator tells whether a --csv-separator is one character that can part columns; `\t` is a tab.
func CheckSeparator(s string) error {
	_, err := separatorOf(s)
	return err
}

func separatorOf(s string) (rune, error) {
	separator, size := utf8.DecodeRuneInString(strings.ReplaceAll(s, `\t`, "\t"))
	if size == 0 || strings.ReplaceAll(s, `\t`, "\t")[size:] != "" {
		return 0, fmt.Errorf("--csv-separator %q is not one character", s)
	}
	if strings.ContainsRune("\"\r\n\ufffd", separator) || separator == 0 { // encoding/csv has no such separator
		return 0, fmt.Errorf("--csv-separator %q cannot part columns", s)
	}
	return separator, nil
}

func readCSV(in io.Reader, o CSVOptions) (*rows, error) {
	separator, err := separatorOf(o.Separator)
	if err != nil {
		return nil, err
	}
	table := csv.NewReader(in)
	table.Comma = separator
	table.LazyQuotes = separator == '\t'
	header, err := table.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty: a header line is wanted")
	}
	if err != nil {
		return nil, err
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	column := func(flag, key string) (int, error) {
		i := slices.Index(header, key)
		if i < 0 {
			return 0, fmt.Errorf("it has no column %q, only %q; %s names another, --csv-separator another separator than %q", key, header, flag, separator)
		}
		return i, nil
	}
	image, err := column("--csv-img-key", o.ImageKey)
	if err != nil {
		return nil, err
	}
	caption, err := column("--csv-caption-key", o.CaptionKey)
	if err != nil {
		return nil, err
	}
	r := &rows{}
	for {
		line, err := table.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		r.images, r.texts = append(r.images, line[image]), append(r.texts, line[caption])
	}
	if len(r.images) == 0 {
		return nil, errors.New("it has a header and no rows")
	}
	return r, nil
}

func (r *rows) Len() int { return len(r.images) }

func (r *rows) Key(i int) string { return r.images[i] }

func (r *rows) Caption(i int) string { return r.texts[i] }

func (r *rows) Image(i int) ([]byte, error) {
	name := r.images[i]
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(name) {
		b, err = os.ReadFile(filepath.Join(r.dir, name))
	}
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	return b, nil
}
