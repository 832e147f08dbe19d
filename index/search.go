package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// queriesAtOnce bounds the memory of the scores.
const queriesAtOnce = 64

// Search finds for each query the k images of the highest cosine among those that pass the
// filter, exactly unless the index was opened with another engine; equal scores in the order of
// indexing. queries are L2-normalised rows (Q, EmbedDim). Fewer than k are found where there are no
// more. A score depends on the image's vector and the query alone, to the bit. Searches take turns,
// each with as many threads as libtorch's kernels; one that waits or runs ends with ctx.
func (ix *Index) Search(ctx context.Context, queries []float32, k int, f Filter) (hits [][]Hit, err error) {
	err = ix.read(ctx, func(tx *sql.Tx, st state, m *mapping) error {
		hits = nil
		if err := checkQueries(queries, st.model.EmbedDim); err != nil {
			return err
		}
		if k < 1 {
			return fmt.Errorf("a search for %d images: must be at least 1", k)
		}
		allowed, err := f.slots(ctx, tx, ix.dir, ix.root, st)
		if err != nil {
			return err
		}
		dead, err := slots(ctx, tx, ix.dir, st.rows, "SELECT slot FROM dead ORDER BY slot")
		if err != nil {
			return err
		}
		var best [][]found
		err = ix.inTurn(ctx, func() error {
			for part := range slices.Chunk(queries, queriesAtOnce*st.model.EmbedDim) {
				b, err := m.find(ctx, part, min(k, st.rows), allowed, dead)
				if err != nil {
					return err
				}
				best = append(best, b...)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, list := range best {
			h, err := ix.hits(ctx, tx, st, m, list)
			if err != nil {
				return err
			}
			hits = append(hits, h)
		}
		return nil
	})
	return hits, err
}

func checkQueries(queries []float32, dim int) error {
	if len(queries) == 0 || len(queries)%dim != 0 {
		return fmt.Errorf("queries of %d numbers; rows must have %d", len(queries), dim)
	}
	for _, x := range queries {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return errors.New("a query has numbers that are not finite")
		}
	}
	return nil
}

// inTurn runs f when no other search uses the threads.
func (ix *Index) inTurn(ctx context.Context, f func() error) error {
	select {
	case ix.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-ix.turn }()
	return f()
}

// find is the search by the engine. What a filter leaves of the rows is compared exactly if it is
// little.
func (m *mapping) find(ctx context.Context, queries []float32, k int, allowed, dead []int64) ([][]found, error) {
	if m.near == nil || allowed != nil && len(allowed) < m.n/10 {
		return m.search(ctx, queries, k, allowed, dead, 0)
	}
	return m.searchNear(ctx, m.near, queries, k, allowed, dead)
}

// hits are the images of vectors, whose checksums are compared.
func (ix *Index) hits(ctx context.Context, tx *sql.Tx, st state, m *mapping, list []found) ([]Hit, error) {
	out := make([]Hit, 0, len(list))
	statement, err := tx.PrepareContext(ctx, "SELECT path, size, modified, crc, "+st.date()+" FROM pictures WHERE slot = ?")
	if err != nil {
		return nil, broken(ix.dir, err)
	}
	defer statement.Close()
	for _, f := range list {
		var path string
		var size, modified, crc, date int64
		if err := statement.QueryRowContext(ctx, f.slot).Scan(&path, &size, &modified, &crc, &date); err != nil {
			return nil, broken(ix.dir, err)
		}
		if int64(checksum(m.bytes(int(f.slot)))) != crc {
			return nil, damaged(m.path, "the vector of %s has changed", path)
		}
		out = append(out, Hit{Image: Image{outside(ix.root, path), size, time.Unix(0, modified), time.Unix(0, date)}, Score: float64(f.score)})
	}
	return out, nil
}

// Vector returns the indexed vector of a file, (EmbedDim), if the file has the size and time that it had
// then.
func (ix *Index) Vector(ctx context.Context, f File) (row []float32, ok bool, err error) {
	path, err := inside(ix.root, f.Path)
	if err != nil {
		return nil, false, err
	}
	err = ix.read(ctx, func(tx *sql.Tx, st state, m *mapping) error {
		var slot, crc int64
		err := tx.QueryRowContext(ctx, "SELECT slot, crc FROM pictures WHERE path = ? AND size = ? AND modified = ?", path, f.Size, f.ModTime.UnixNano()).Scan(&slot, &crc)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return broken(ix.dir, err)
		}
		if slot < 0 || slot >= int64(m.n) {
			return damaged(m.path, "%s has the vector %d of %d", path, slot, m.n)
		}
		if int64(checksum(m.bytes(int(slot)))) != crc {
			return damaged(m.path, "the vector of %s has changed", path)
		}
		row, ok = slices.Clone(m.row(int(slot))), true
		return nil
	})
	return row, ok, err
}

// Verify reads every vector and compares its checksum, whether its code is the one that is made of
// it, and whether each belongs to one image or is dead.
func (ix *Index) Verify(ctx context.Context) error {
	return ix.read(ctx, func(tx *sql.Tx, st state, m *mapping) error {
		dead, err := slots(ctx, tx, ix.dir, st.rows, "SELECT slot FROM dead ORDER BY slot")
		if err != nil {
			return err
		}
		live, err := slots(ctx, tx, ix.dir, st.rows, "SELECT slot FROM pictures ORDER BY slot")
		if err != nil {
			return err
		}
		both := append(slices.Clone(live), dead...)
		slices.Sort(both)
		if len(slices.Compact(both)) != len(live)+len(dead) || len(both) != st.rows {
			return damaged(m.path, "%d images and %d dead vectors do not make %d", len(live), len(dead), st.rows)
		}
		list := make([]found, len(live))
		for i, slot := range live {
			list[i].slot = slot
		}
		for part := range slices.Chunk(list, 1024) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := ix.hits(ctx, tx, st, m, part); err != nil {
				return err
			}
		}
		for from := 0; from < m.n; from += rowsAtOnce {
			if err := errors.Join(ctx.Err(), m.verifyCodes(from, min(rowsAtOnce, m.n-from))); err != nil {
				return err
			}
		}
		return nil
	})
}
