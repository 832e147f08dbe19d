package main

import (
	"context"

	"github.com/goclip/goclip/index"
)

// Learned returns the row of a query in which a word stands that the index has learned; nil for any other
// text, which the server encodes as it stands. A path in a query is a text: files of the server are
// not read for a request.
func (s *shelf) Learned(ctx context.Context, query string, encode func(texts ...string) ([][]float32, error)) ([]float32, error) {
	terms, _, err := index.ParseQuery(query)
	if err != nil {
		return nil, nil
	}
	if terms, err = s.Resolve(ctx, terms); err != nil {
		return nil, err
	}
	learned := false
	for i, t := range terms {
		learned = learned || t.Concept != ""
		if t.Image != "" {
			terms[i].Text = t.Image
		}
	}
	if !learned {
		return nil, nil
	}
	var rows [][]float32
	for _, t := range terms {
		var row [][]float32
		if t.Concept == "" {
			row, err = encode(t.Text)
		} else {
			row = make([][]float32, 1)
			row[0], err = s.Query(ctx, []index.Term{{Concept: t.Concept, Weight: 1}}, nil)
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, row...)
	}
	return index.Combine(terms, rows)
}
