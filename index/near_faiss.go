package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/index/faiss"
)

const (
	nearRecall  = 0.99 // of what all lists would find of the ten nearest, on queries like the images
	nearQueries = 64   // with which that is found out
)

// nearPath is FAISS's file of vectors-N.f32.
func nearPath(dir string, file int) string {
	return filepath.Join(dir, fmt.Sprintf("near-%d.faiss", file))
}

// lists is FAISS as an engine's copy.
type lists struct{ *faiss.Index }

func (l lists) Search(_ context.Context, query []float32, k int, permitted []byte) ([]int64, error) {
	return l.Index.Search(query, k, permitted)
}

// updateFAISS makes FAISS's file, or adds to it the rows that have come meanwhile if they are many.
func (w *Writer) updateFAISS(ctx context.Context, m *mapping) (changed bool, err error) {
	rows, path := m.n, nearPath(w.dir, w.state.file)
	x, err := faiss.Open(path, false)
	if err == nil && (x.Rows() > rows || x.Dim() != m.dim || rows > 2*x.Rows()) { // of another index, or with too few lists by now
		x.Close()
		x, err = nil, fs.ErrNotExist
	}
	if err == nil && rows-x.Rows() < max(nearLeast, rows/20) {
		x.Close()
		return false, nil
	}
	fresh := err != nil
	if fresh {
		if x, err = m.train(); err != nil {
			return false, err
		}
	}
	defer x.Close()
	for from := x.Rows(); from < rows; from += rowsAtOnce {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		part, err := m.slice(from, min(rowsAtOnce, rows-from))
		if err != nil {
			return false, err
		}
		if err := x.Add(part); err != nil {
			return false, err
		}
	}
	if fresh {
		dead, err := slots(ctx, w.db, w.dir, rows, "SELECT slot FROM dead ORDER BY slot")
		if err != nil {
			return false, err
		}
		if err := m.calibrate(ctx, x, dead); err != nil {
			return false, err
		}
	}
	return true, w.saveNear(x, path)
}

// saveNear writes the file under another name first.
func (w *Writer) saveNear(x *faiss.Index, path string) error {
	part := filepath.Join(w.dir, ".near.tmp")
	err := x.Save(part)
	if err == nil {
		var f *os.File
		if f, err = os.Open(part); err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
	}
	if err == nil {
		err = w.fsys.Rename(part, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s was not written: %w", path, err), os.RemoveAll(part))
	}
	return w.fsys.SyncDir(w.dir)
}

// openFAISS opens the file of a state.
func openFAISS(dir string, st state) (near, error) {
	path := nearPath(dir, st.file)
	x, err := faiss.Open(path, true)
	if err == nil && (x.Rows() > st.rows || x.Dim() != st.model.EmbedDim) {
		x.Close()
		err = fmt.Errorf("%s belongs to another index", path)
	}
	if err != nil { // not wrapped: that a file is missing means something else here
		return nil, fmt.Errorf("there is no file of FAISS's that is whole (%v): %w", err, ErrEngine)
	}
	return lists{x}, nil
}

// train learns the lists from rows all over the file.
func (m *mapping) train() (*faiss.Index, error) {
	lists := 1 << max(0, int(math.Round(math.Log2(4*math.Sqrt(float64(m.n)))))) // 4,096 for a million
	lists = min(lists, m.n/32)
	wanted := min(m.n, 32*lists)
	sample := make([]float32, 0, wanted*m.dim)
	for i := range wanted {
		sample = append(sample, m.row(int(int64(i)*int64(m.n)/int64(wanted)))...)
	}
	return faiss.Train(sample, m.dim, lists)
}

// calibrate finds how many lists must be looked into. The queries are images of the index with
// noise that leaves a cosine of 0.8: harder than images, easier than texts of a model whose texts
// lie elsewhere.
func (m *mapping) calibrate(ctx context.Context, x *faiss.Index, dead []int64) error {
	const k = 10
	rng := rand.New(rand.NewPCG(1, 2))
	var queries []float32
	for range nearQueries {
		queries = append(queries, noisy(rng, m.row(rng.IntN(m.n)), 0.8)...)
	}
	truth, err := m.search(ctx, queries, k, nil, dead, 0)
	if err != nil {
		return err
	}
	reached := func(probes int) (float64, error) {
		x.SetProbes(probes)
		found, err := m.searchNear(ctx, lists{x}, queries, k, nil, dead)
		return recall(found, truth), err
	}
	most, err := reached(x.Lists()) // the codes are coarse, and may hide some
	for probes := 1; err == nil; probes = min(probes*5/4+1, x.Lists()) {
		got := 0.0
		if got, err = reached(probes); got >= nearRecall*most {
			break
		}
	}
	return err
}

// noisy is a vector of length 1 whose cosine with an L2-normalised row is about the given one.
func noisy(rng *rand.Rand, row []float32, cosine float64) []float32 {
	out := make([]float32, len(row))
	scale := math.Sqrt(1-cosine*cosine) / math.Sqrt(float64(len(row)))
	norm := 0.0
	for i, x := range row {
		y := cosine*float64(x) + scale*rng.NormFloat64()
		out[i] = float32(y)
		norm += y * y
	}
	for i := range out {
		out[i] /= float32(math.Sqrt(norm))
	}
	return out
}

// recall is the fraction of the truth that was found.
func recall(got, truth [][]found) float64 {
	hit, all := 0, 0
	for q := range truth {
		for _, t := range truth[q] {
			all++
			if slices.ContainsFunc(got[q], func(f found) bool { return f.slot == t.slot }) {
				hit++
			}
		}
	}
	return float64(hit) / float64(max(1, all))
}
