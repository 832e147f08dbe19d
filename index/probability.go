package index

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index/chance"
)

// ErrOneImage is the error of Judge where there is nothing to compare an image with.
var ErrOneImage = errors.New("an index needs at least two images to tell probabilities")

// Judge sets the hits' Probability: how probable it is that the image shows what a query of words
// says, by package chance. query is the row that was searched for, L2-normalised. encoder is asked
// once for a model and an index: the texts of the background are then kept beside the concepts. A
// hit whose file was indexed again since the search has probability 0. It fails with ErrOneImage.
func (ix *Index) Judge(ctx context.Context, query []float32, hits []Hit, encoder func(ctx context.Context) (clip.Encoder, error)) error {
	if len(hits) == 0 {
		return nil
	}
	info, err := ix.Info(ctx)
	if err != nil {
		return err
	}
	if info.Images < 2 {
		return ErrOneImage
	}
	background, err := ix.background(ctx, info.Model, encoder)
	if err != nil {
		return err
	}
	var rows [][]float32
	var at []int
	for i, h := range hits {
		hits[i].Probability = 0
		row, ok, err := ix.Vector(ctx, File{Path: h.Path, Size: h.Size, ModTime: h.ModTime})
		if err != nil {
			return err
		}
		if ok {
			rows, at = append(rows, row), append(at, i)
		}
	}
	for i, e := range background.Evidence(query, rows) {
		hits[at[i]].Probability = e.Probability(info.Images)
	}
	return nil
}

// background is kept until a commit changes the index.
func (ix *Index) background(ctx context.Context, model Model, encoder func(ctx context.Context) (clip.Encoder, error)) (*chance.Background, error) {
	images, generation, _, err := ix.sample(ctx, spaceRows)
	if err != nil {
		return nil, err
	}
	ix.learning.Lock()
	defer ix.learning.Unlock()
	if ix.chance != nil && ix.chanceOf == generation {
		return ix.chance, nil
	}
	texts, err := ix.backgroundTexts(ctx, model, encoder)
	if err != nil {
		return nil, err
	}
	b, err := chance.New(texts, images)
	if err == nil {
		ix.chance, ix.chanceOf = b, generation
	}
	return b, err
}

// backgroundTexts are the rows of chance.Texts, stored once for a model where the index can be
// written.
func (ix *Index) backgroundTexts(ctx context.Context, model Model, encoder func(ctx context.Context) (clip.Encoder, error)) (rows [][]float32, err error) {
	texts := chance.Texts()
	key := sum([]byte(strings.Join(append(texts, model.Weights, model.Transform), "\n")))
	err = ix.withConcepts(false, func(path string, db *sql.DB) error {
		if db == nil {
			return nil
		}
		var data []byte
		err := db.QueryRowContext(ctx, "SELECT rows FROM background WHERE key = ?", key).Scan(&data)
		if err == nil && len(data) == 4*len(texts)*model.EmbedDim {
			for row := make([]float32, model.EmbedDim); len(data) > 0; row = make([]float32, model.EmbedDim) {
				for i := range row {
					row[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
				}
				rows, data = append(rows, row), data[4*len(row):]
			}
		}
		return nil // what cannot be read is made again
	})
	if err != nil || rows != nil {
		return rows, err
	}
	e, err := encoder(ctx)
	if err != nil {
		return nil, err
	}
	if rows, err = e.Model.EncodeTexts(ctx, texts...); err != nil {
		return nil, err
	}
	if unix.Access(ix.dir, unix.W_OK) != nil {
		return rows, nil
	}
	data := make([]byte, 0, 4*len(rows)*model.EmbedDim)
	for _, row := range rows {
		for _, x := range row {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
	}
	_ = ix.withConcepts(true, func(_ string, db *sql.DB) error { // where the disk is full, they are made again
		_, err := db.ExecContext(ctx, "INSERT OR REPLACE INTO background (key, rows) VALUES (?, ?)", key, data)
		return err
	})
	return rows, nil
}

// ErrNoWords is inside the error for the probabilities of a query that is not of words alone.
var ErrNoWords = errors.New("a probability needs a query of words alone, without images, learned words and subtraction")

// OnlyWords fails with ErrNoWords where a query has other terms than words that count for it.
func OnlyWords(terms []Term) error {
	for _, t := range terms {
		if t.Text == "" || t.Weight < 0 {
			return ErrNoWords
		}
	}
	return nil
}
