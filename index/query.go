package index

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/goclip/goclip/clip"
)

// Term is a part of a query: words or an image, and how much it counts.
type Term struct {
	Text    string  `json:"text,omitempty"`
	Image   string  `json:"image,omitempty"`   // path of an image
	Concept string  `json:"concept,omitempty"` // NAME or NAME@VERSION, of [Index.Learn]
	Weight  float64 `json:"weight"`            // below 0 for what the images should not look like
}

// maxTerms bounds a query. More is a slip.
const maxTerms = 64

// ParseQuery reads a query in rclip's manner:
//
//	horse                                              words
//	./pool.jpg                                         an image: it begins with /, ./, ../ or ~/
//	horse + stripes - "a zoo"                          terms, with blanks around + and -
//	"2:golden retriever" + 0.5:./pool.jpg - fruit      terms with weights
//
// Quotation marks keep a + or - from parting what they enclose. The words of a command line are
// parsed one by one, so that [horse, +, stripes] is [horse + stripes]; rest is what follows the
// last term that an operator joins.
func ParseQuery(words ...string) (terms []Term, rest []string, err error) {
	sign, wanted := 1.0, true // a term comes next
	for i, word := range words {
		parts, err := split(word)
		if err != nil {
			return nil, nil, err
		}
		if operator := len(parts) > 0 && parts[0].operator; !operator && !wanted {
			return terms, words[i:], nil
		}
		if len(parts) == 0 {
			return nil, nil, errors.New("a term of the query is empty; it must be words or the path of an image")
		}
		for _, p := range parts {
			switch {
			case p.operator && wanted && len(terms) > 0:
				return nil, nil, fmt.Errorf("the query %q: two operators follow each other; quotation marks inside the query make one of them a word", strings.Join(words, " "))
			case p.operator:
				sign, wanted = 1, true
				if p.text == "-" {
					sign = -1
				}
			case len(terms) == maxTerms:
				return nil, nil, fmt.Errorf("a query has at most %d terms", maxTerms)
			default:
				t, err := parseTerm(p.text)
				if err != nil {
					return nil, nil, err
				}
				t.Weight *= sign
				terms, sign, wanted = append(terms, t), 1, false
			}
		}
	}
	switch {
	case len(terms) == 0:
		return nil, nil, errors.New("the query is empty; it must be words or the path of an image")
	case wanted:
		return nil, nil, fmt.Errorf("the query %q ends with an operator; a term must follow it", strings.Join(words, " "))
	}
	return terms, nil, nil
}

// part is an operator or a term of a word.
type part struct {
	text     string
	operator bool
}

// split parts a word at + and - that have blanks, or the word's ends, on both sides and are outside
// quotation marks.
func split(word string) (parts []part, err error) {
	var text strings.Builder
	quoted := false
	flush := func() {
		if t := strings.TrimSpace(text.String()); t != "" {
			parts = append(parts, part{text: t})
		}
		text.Reset()
	}
	blank := func(i int) bool { return i < 0 || i >= len(word) || word[i] == ' ' || word[i] == '\t' }
	for i := 0; i < len(word); i++ {
		switch c := word[i]; {
		case c == '"':
			quoted = !quoted
		case (c == '+' || c == '-') && !quoted && blank(i-1) && blank(i+1):
			flush()
			parts = append(parts, part{string(c), true})
		default:
			text.WriteByte(c)
		}
	}
	if quoted {
		return nil, fmt.Errorf("the query %q: a quotation mark is missing", word)
	}
	flush()
	return parts, nil
}

func parseTerm(text string) (t Term, err error) {
	t.Weight = 1
	if number, rest, ok := strings.Cut(text, ":"); ok && isNumber(number) {
		w, err := strconv.ParseFloat(number, 64)
		if err != nil || w == 0 || w > 1e6 {
			return t, fmt.Errorf("the query's term %q: the weight before the colon must be above 0 and at most 1000000", text)
		}
		t.Weight, text = w, strings.TrimSpace(rest)
	}
	for _, prefix := range []string{"http://", "https://"} {
		if strings.HasPrefix(text, prefix) {
			return t, fmt.Errorf("the query's term %q: images are not fetched; save it and give its path", text)
		}
	}
	if text == "" {
		return t, errors.New("a term of the query is empty; it must be words or the path of an image")
	}
	for _, prefix := range []string{"/", "./", "../", "~/"} {
		if strings.HasPrefix(text, prefix) {
			t.Image = text
			return t, nil
		}
	}
	t.Text = text
	return t, nil
}

// isNumber tells 2, 0.5 and .5 from words.
func isNumber(s string) bool {
	return s != "" && s != "." && strings.Trim(s, "0123456789.") == "" && strings.Count(s, ".") <= 1
}

// Query returns the vector of a query's terms, to be searched for. An image that the index holds as it
// is on the disk has its vector there; for all else encoder is asked, when it is first needed, for
// one of the index's model.
func (ix *Index) Query(ctx context.Context, terms []Term, encoder func(ctx context.Context) (clip.Encoder, error)) ([]float32, error) {
	var e clip.Encoder
	rows := make([][]float32, 0, len(terms))
	for _, t := range terms {
		if t.Concept != "" {
			row, err := ix.conceptRow(ctx, t.Concept)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
			continue
		}
		if t.Image != "" {
			if f, err := Stat(t.Image); err == nil {
				row, ok, err := ix.Vector(ctx, f)
				if err != nil {
					return nil, err
				}
				if ok {
					rows = append(rows, row)
					continue
				}
			}
		}
		if e.Model == nil {
			var err error
			if e, err = encoder(ctx); err != nil {
				return nil, err
			}
			e.BatchSize, e.Raw = 1, false
		}
		encoded := e.Texts(ctx, slices.Values([]string{t.Text}))
		if t.Image != "" {
			encoded = e.Images(ctx, slices.Values([]clip.ImageSource{clip.FromFile(t.Image)}))
		}
		for row, err := range encoded {
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	return Combine(terms, rows)
}

// ErrCancel is the error of a query whose terms leave nothing.
var ErrCancel = errors.New("the query's terms cancel each other out: nothing is left to look for")

// Combine returns the query's vector: the sum of the terms' L2-normalised rows by their weights,
// normalised.
func Combine(terms []Term, rows [][]float32) ([]float32, error) {
	if len(terms) == 0 || len(rows) != len(terms) {
		return nil, fmt.Errorf("%d rows for the %d terms of a query", len(rows), len(terms))
	}
	dim := len(rows[0])
	sums, most, norm := make([]float64, dim), 0.0, 0.0
	for i, t := range terms {
		if len(rows[i]) != dim {
			return nil, fmt.Errorf("rows of %d and of %d numbers in one query", dim, len(rows[i]))
		}
		most = max(most, math.Abs(t.Weight))
		for j, x := range rows[i] {
			sums[j] += t.Weight * float64(x)
		}
	}
	for _, x := range sums {
		norm += x * x
	}
	norm = math.Sqrt(norm)
	if norm < 1e-4*most || norm != norm {
		return nil, ErrCancel
	}
	out := make([]float32, dim)
	for j, x := range sums {
		out[j] = float32(x / norm)
	}
	return out, nil
}
