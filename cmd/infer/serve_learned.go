package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/serve"
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
	row, err := combined(ctx, s.Index, terms, encode)
	if errors.Is(err, index.ErrCancel) || errors.Is(err, index.ErrConceptModel) {
		err = fmt.Errorf("%w: %w", fs.ErrInvalid, err)
	}
	return row, s.switched(ctx, err)
}

// combined is the row of a query's terms, of which encode makes those of the texts.
func combined(ctx context.Context, ix *index.Index, terms []index.Term, encode func(texts ...string) ([][]float32, error)) ([]float32, error) {
	var rows [][]float32
	for _, t := range terms {
		var row [][]float32
		var err error
		if t.Concept == "" {
			row, err = encode(t.Text)
		} else {
			row = make([][]float32, 1)
			row[0], err = ix.Query(ctx, []index.Term{{Concept: t.Concept, Weight: 1}}, nil)
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, row...)
	}
	return index.Combine(terms, rows)
}

// Teach learns from examples that are images of the index: no other file of the server is read.
func (s *shelf) Teach(ctx context.Context, m *clip.Model, l serve.Lesson, f serve.Filter) (c serve.Concept, err error) {
	for _, path := range slices.Concat(l.Yes, l.No) {
		file, err := index.Stat(path)
		held := false
		if err == nil {
			if _, held, err = s.Vector(ctx, file); err != nil {
				return c, s.switched(ctx, err)
			}
		}
		if !held {
			return c, fmt.Errorf("%s: %w in the index as it is now", quoted(path), fs.ErrNotExist)
		}
		if slices.Contains(l.Yes, path) && slices.Contains(l.No, path) {
			return c, fmt.Errorf("%w: %s is in yes and in no", fs.ErrInvalid, quoted(path))
		}
	}
	encoder := func(context.Context) (clip.Encoder, error) { return clip.Encoder{Model: m}, nil }
	lesson := index.Lesson{Name: l.Name, Text: l.Text, Yes: l.Yes, No: l.No}
	var learned index.Concept
	switch {
	case l.Name == "":
		learned, err = s.Try(ctx, lesson, encoder)
	case !s.learns:
		return c, fs.ErrPermission
	default:
		if err := index.CheckConceptName(l.Name); err != nil {
			return c, fmt.Errorf("%w: %w", fs.ErrInvalid, err)
		}
		learned, err = s.Learn(ctx, lesson, encoder)
	}
	if err != nil {
		return c, s.switched(ctx, err)
	}
	c.Row, c.Version = learned.Row, learned.Version
	if l.Propose > 0 {
		hits, err := s.Propose(ctx, learned, l.Propose, filterOf(f))
		if err != nil {
			return c, s.switched(ctx, err)
		}
		c.Proposals = served(hits)
	}
	return c, nil
}

// Judge sets probabilities; a file that has gone since has none.
func (s *shelf) Judge(ctx context.Context, m *clip.Model, row []float32, hits []serve.Hit) error {
	list := make([]index.Hit, len(hits))
	for i, h := range hits {
		list[i].Path = h.Path
		if file, err := index.Stat(h.Path); err == nil {
			list[i].Size, list[i].ModTime = file.Size, file.ModTime
		}
	}
	err := s.Index.Judge(ctx, row, list, func(context.Context) (clip.Encoder, error) { return clip.Encoder{Model: m}, nil })
	for i := range list {
		hits[i].Probability = list[i].Probability
	}
	if errors.Is(err, index.ErrOneImage) {
		err = fmt.Errorf("%w: %w", fs.ErrInvalid, err)
	}
	return s.switched(ctx, err)
}

// switched reopens the index if it has another model, and gives the error on.
func (s *shelf) switched(ctx context.Context, err error) error {
	if errors.Is(err, index.ErrSwitched) {
		if e := s.follow(ctx); e != nil {
			err = e
		}
	}
	return err
}
