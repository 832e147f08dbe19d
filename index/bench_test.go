package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/internal/disk"
	"github.com/stretchr/testify/require"
)

// largeDim and largeRows are the vectors of BenchmarkSearch: 2 GB, random, not of one length.
const (
	largeDim  = 512
	largeRows = 1_000_000
)

// largeBlock is how many rows of a large index are made at a time.
const largeBlock = 10_000

// large makes an index of random vectors in the directory GOCLIP_BENCH_INDEX, where it stays, or in
// one of its own. The rows of a block come again, each time multiplied by another number.
func large(b *testing.B) string {
	rng := rand.New(rand.NewPCG(1, 2))
	rows := make([]float32, largeBlock*largeDim)
	for i := range rows {
		rows[i] = float32(rng.NormFloat64()) / float32(math.Sqrt(largeDim))
	}
	return largeOf(b, "", func(block []float32) {
		scale := 0.5 + rng.Float32()/2
		for i, x := range rows {
			block[i] = scale * x
		}
	})
}

// largeOf makes an index of largeRows vectors, which fill makes block by block, in a directory of
// that name.
func largeOf(b testing.TB, name string, fill func(block []float32)) string {
	dir := os.Getenv("GOCLIP_BENCH_INDEX")
	if dir == "" {
		dir = b.TempDir()
	}
	at := filepath.Join(dir, name, DirName)
	m := Model{Name: "none", EmbedDim: largeDim, Weights: "random", Transform: "none"}
	w, err := OpenWriter(at, m)
	require.NoError(b, err)
	defer w.Close()
	if w.state.rows == largeRows {
		return at
	}
	rows := make([]float32, largeBlock*largeDim)
	sums := make([]uint32, 0, largeRows)
	data := make([]byte, 0, 4*len(rows))
	require.NoError(b, singles.create(disk.Machine{}, singles.path(at, 1), largeDim, func(out io.Writer) error {
		for range largeRows / largeBlock {
			data = data[:0]
			fill(rows)
			for _, x := range rows {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
			}
			for row := range slices.Chunk(data, 4*largeDim) {
				sums = append(sums, checksum(row))
			}
			if _, err := out.Write(data); err != nil {
				return err
			}
		}
		return nil
	}))
	tx, err := w.db.Begin()
	require.NoError(b, err)
	insert, err := tx.Prepare("INSERT INTO pictures (slot, path, size, modified, crc) VALUES (?, ?, ?, ?, ?)")
	require.NoError(b, err)
	for i, s := range sums {
		_, err := insert.Exec(i, fmt.Sprintf("%03d/%07d.jpg", i%1000, i), 100_000+i, i, s)
		require.NoError(b, err)
	}
	_, err = tx.Exec("UPDATE state SET rows = ?", largeRows)
	require.NoError(b, err)
	require.NoError(b, tx.Commit())
	w.state.rows = largeRows
	require.NoError(b, w.makeCodes(w.state))
	return at
}

// BenchmarkSearch is an exact search for the ten nearest of 1,000,000 vectors of 512 numbers: in an
// index that is open, and with opening it, as a command does. It tells the median and the best of
// its turns, and the median of the processor time, which other work on the machine changes less.
func BenchmarkSearch(b *testing.B) {
	at := large(b)
	query := make([]float32, largeDim)
	query[0] = 1
	times := func(b *testing.B, search func()) {
		var list, work []time.Duration
		for b.Loop() {
			began, busy := time.Now(), campaign.ProcessorTime()
			search()
			list, work = append(list, time.Since(began)), append(work, campaign.ProcessorTime()-busy)
		}
		slices.Sort(list)
		slices.Sort(work)
		b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, "median-ms")
		b.ReportMetric(float64(list[0].Microseconds())/1000, "best-ms")
		b.ReportMetric(float64(work[len(work)/2].Microseconds())/1000, "processor-ms") // of all threads together
	}
	search := func(ix *Index, f Filter) {
		hits, err := ix.Search(ctx, query, 10, f)
		require.NoError(b, err)
		require.Len(b, hits[0], 10)
	}
	b.Run("open", func(b *testing.B) {
		ix, err := Open(at)
		require.NoError(b, err)
		defer ix.Close()
		search(ix, Filter{})
		times(b, func() { search(ix, Filter{}) })
	})
	b.Run("opening", func(b *testing.B) {
		times(b, func() {
			ix, err := Open(at)
			require.NoError(b, err)
			search(ix, Filter{})
			require.NoError(b, ix.Close())
		})
	})
	b.Run("folder", func(b *testing.B) { // 1,000 of them
		ix, err := Open(at)
		require.NoError(b, err)
		defer ix.Close()
		times(b, func() { search(ix, Filter{Folder: filepath.Join(ix.root, "007")}) })
	})
}

// BenchmarkCodes is the same search in the vectors alone and with their codes, in turns, and beside
// them how long the processors take to read the bytes of both: the least that a search can take.
func BenchmarkCodes(b *testing.B) {
	ix, err := Open(large(b))
	require.NoError(b, err)
	defer ix.Close()
	query := make([]float32, largeDim)
	query[0] = 1
	_, err = ix.Search(ctx, query, 10, Filter{})
	require.NoError(b, err)
	whole := ix.mapped
	alone := *whole
	alone.codes = nil
	times, work := map[string][]time.Duration{}, map[string][]time.Duration{}
	turn := func(name string, f func()) {
		began, busy := time.Now(), campaign.ProcessorTime()
		f()
		times[name], work[name] = append(times[name], time.Since(began)), append(work[name], campaign.ProcessorTime()-busy)
	}
	search := func(m *mapping) func() {
		return func() {
			ix.mapped = m
			_, err := ix.Search(ctx, query, 10, Filter{})
			require.NoError(b, err)
		}
	}
	defer func() { ix.mapped = whole }()
	for b.Loop() {
		turn("vectors", search(&alone))
		turn("codes", search(whole))
		turn("reading-vectors", func() { readAll(whole.file) })
		turn("reading-codes", func() { readAll(whole.codes) })
	}
	for name, list := range times {
		slices.Sort(list)
		slices.Sort(work[name])
		b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, name+"-median-ms")
		b.ReportMetric(float64(list[0].Microseconds())/1000, name+"-best-ms")
		b.ReportMetric(float64(work[name][len(list)/2].Microseconds())/1000, name+"-processor-ms")
	}
}

// readAll looks at every byte, in as many goroutines as a search has.
func readAll(data []byte) {
	const each = 1 << 20
	var zeros atomic.Int64
	_ = inParallel(ctx, len(data)/each, func(i int) {
		zeros.Add(int64(bytes.Count(data[i*each:(i+1)*each], []byte{0})))
	})
}
