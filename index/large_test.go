//go:build large

package index

import (
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/goclip/goclip/internal/disk"
)

// TestCodesLarge is TestCodes at 1,000,000 vectors of 512 numbers, a third of 10,000 queries for
// each kind.
func TestCodesLarge(t *testing.T) {
	for i, h := range hard {
		t.Run(h.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(15, uint64(i)))
			rows := make([]float32, largeRows*largeDim)
			h.fill(rng, rows, largeDim)
			m := inMemory(rows, largeDim)
			const queries = 3336
			for asked := 0; asked < queries; asked += queriesAtOnce {
				var some []float32
				for range min(queriesAtOnce, queries-asked) {
					some = append(some, h.ask(rng, rows, largeDim)...)
				}
				sameAnswers(t, m, some, 10, nil, nil)
			}
			t.Logf("%d queries, the same ten answers each", queries)
		})
	}
}

// TestTenMillion searches 10,000,000 vectors of 512 numbers, in the directory
// GOCLIP_BENCH_INDEX, where they stay, and tells how long it takes beside reading the codes, and how
// much memory this process has; a few queries are compared with the search without codes.
func TestTenMillion(t *testing.T) {
	const rows = 10_000_000
	dir := os.Getenv("GOCLIP_BENCH_INDEX")
	if dir == "" {
		t.Skip("GOCLIP_BENCH_INDEX names no directory with 26 GB of room")
	}
	st := state{file: 1, rows: rows, model: Model{EmbedDim: largeDim}}
	dir = filepath.Join(dir, "ten-million")
	if codes.check(codes.path(dir, 1), rows, largeDim) != nil {
		require.NoError(t, os.MkdirAll(dir, 0o755))
		writeRandom(t, dir, rows)
	}
	m, err := mapRows(dir, st)
	require.NoError(t, err)
	defer m.free()
	require.NotNil(t, m.codes)
	rng := rand.New(rand.NewPCG(17, 18))
	const turns = 20
	var searches, reads []time.Duration
	for range turns {
		query := hard[0].ask(rng, nil, largeDim)
		began := time.Now()
		got, err := m.search(ctx, query, 10, nil, nil, 0)
		searches = append(searches, time.Since(began))
		require.NoError(t, err)
		require.Len(t, got[0], 10)
		began = time.Now()
		readAll(m.codes)
		reads = append(reads, time.Since(began))
	}
	slices.Sort(searches)
	slices.Sort(reads)
	var u unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	t.Logf("a search: median %d ms, best %d ms; reading the %d MB of codes: median %d ms, best %d ms; most resident: %d MB",
		searches[turns/2].Milliseconds(), searches[0].Milliseconds(), len(m.codes)/1e6, reads[turns/2].Milliseconds(), reads[0].Milliseconds(), u.Maxrss>>10)
	require.Less(t, u.Maxrss<<10, int64(16<<30))
	if !testing.Short() {
		sameAnswers(t, m, hard[0].ask(rng, nil, largeDim), 10, nil, nil)
	}
}

// writeRandom writes random vectors and their codes.
func writeRandom(t *testing.T, dir string, rows int) {
	rng := rand.New(rand.NewPCG(19, 20))
	block := make([]float32, largeBlock*largeDim)
	require.NoError(t, singles.create(disk.Machine{}, singles.path(dir, 1), largeDim, func(out io.Writer) error {
		for range rows / largeBlock {
			hard[0].fill(rng, block, largeDim)
			data := make([]byte, 0, 4*len(block))
			for _, x := range block {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
			}
			if _, err := out.Write(data); err != nil {
				return err
			}
		}
		return nil
	}))
	m, err := mapRows(dir, state{file: 1, rows: rows, model: Model{EmbedDim: largeDim}})
	require.NoError(t, err)
	defer m.free()
	require.NoError(t, codes.create(disk.Machine{}, codes.path(dir, 1), largeDim, func(out io.Writer) error {
		for from := 0; from < rows; from += rowsAtOnce {
			if _, err := out.Write(m.encode(from, min(rowsAtOnce, rows-from))); err != nil {
				return err
			}
		}
		return nil
	}))
}
