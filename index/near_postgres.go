package index

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/internal/disk"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pgvector/pgvector-go"
	pgxvector "github.com/pgvector/pgvector-go/pgx"
)

// tableName is the file that holds the name under which PostgreSQL knows the index, which is drawn:
// two indexes at one path of two machines are not confused.
const tableName = "postgres.name"

// efSearch is as long a list as pgvector keeps while it searches its graph (hnsw.ef_search), and
// the most that it finds.
const efSearch = 1000

// postgres is a table (slot, v) with an HNSW index, of the rows of one file of vectors. Rows are
// only ever added to it, in order and by transactions, so that it has the first of them at any
// moment.
type postgres struct {
	pool  *pgxpool.Pool
	table string
	dim   int
	rows  int
}

func (p *postgres) Rows() int { return p.rows }

func (p *postgres) Close() { p.pool.Close() }

// table is the name of the table for vectors-N.f32.
func table(dir string, file int) (string, error) {
	name, err := os.ReadFile(filepath.Join(dir, tableName))
	if err == nil && (len(name) != 16 || strings.Trim(string(name), "0123456789abcdef") != "") {
		err = damaged(filepath.Join(dir, tableName), "it holds no name of 16 digits")
	}
	return fmt.Sprintf("goclip_%s_%d", name, file), err
}

// connect opens the database; the address is not in its errors, which may hold a password.
func connect(ctx context.Context, e Engine, extend bool) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(string(e))
	if err != nil {
		return nil, fmt.Errorf("the engine's address: %w", err)
	}
	config.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		if extend {
			if _, err := c.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS vector"); err != nil {
				return fmt.Errorf("PostgreSQL has no pgvector, or this user may not load it: %w", err)
			}
		}
		return pgxvector.RegisterTypes(ctx, c)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err == nil {
		if err = pool.Ping(ctx); err != nil {
			pool.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the engine PostgreSQL at %s: %w", config.ConnConfig.Host, err)
	}
	return pool, nil
}

func openPostgres(dir string, e Engine, st state) (near, error) {
	ctx := context.Background()
	name, err := table(dir, st.file)
	if err != nil {
		return nil, fmt.Errorf("it was never given to PostgreSQL (%v): %w", err, ErrEngine)
	}
	pool, err := connect(ctx, e, false)
	if err != nil {
		return nil, err
	}
	p := &postgres{pool: pool, table: name, dim: st.model.EmbedDim}
	if err := p.count(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("PostgreSQL does not have its vectors: %w: %w", err, ErrEngine)
	}
	p.rows = min(p.rows, st.rows)
	return p, nil
}

// count finds how many rows there are.
func (p *postgres) count(ctx context.Context) error {
	return p.pool.QueryRow(ctx, "SELECT coalesce(max(slot) + 1, 0) FROM "+p.table).Scan(&p.rows)
}

// updatePostgres adds what the table lacks, and drops those of former files of vectors.
func (w *Writer) updatePostgres(ctx context.Context, e Engine, m *mapping) (changed bool, err error) {
	name, err := table(w.dir, w.state.file)
	if errors.Is(err, fs.ErrNotExist) {
		id := make([]byte, 8)
		rand.Read(id) // never fails
		err = disk.WriteFile(w.fsys, filepath.Join(w.dir, tableName), func(out io.Writer) error {
			_, err := io.WriteString(out, hex.EncodeToString(id))
			return err
		})
		if err == nil {
			name, err = table(w.dir, w.state.file)
		}
	}
	if err != nil {
		return false, err
	}
	pool, err := connect(ctx, e, true)
	if err != nil {
		return false, err
	}
	defer pool.Close()
	p := &postgres{pool: pool, table: name, dim: m.dim}
	if err := p.dropFormer(ctx); err != nil {
		return false, fmt.Errorf("PostgreSQL: %w", err)
	}
	fresh := false
	var fault *pgconn.PgError
	switch err := p.count(ctx); {
	case errors.As(err, &fault) && fault.Code == "42P01": // undefined_table
		fresh = true
	case err != nil:
		return false, fmt.Errorf("PostgreSQL: %w", err)
	case p.rows > m.n: // of a copy of this directory
		fresh = true
	case m.n-p.rows < max(nearLeast, m.n/20):
		return false, nil
	}
	if err := p.add(ctx, m, fresh); err != nil {
		return false, fmt.Errorf("PostgreSQL: %w", err)
	}
	return true, nil
}

func (p *postgres) dropFormer(ctx context.Context) error {
	all := p.table[:strings.LastIndex(p.table, "_")+1]
	rows, err := p.pool.Query(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND starts_with(tablename, $1) AND tablename <> $2", all, p.table)
	if err != nil {
		return err
	}
	former, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range former {
		if err == nil {
			_, err = p.pool.Exec(ctx, "DROP TABLE "+pgx.Identifier{name}.Sanitize())
		}
	}
	return err
}

// add adds rows in one transaction, in a table that is recreated if fresh is set. Only then is the
// graph built at once, which is faster than row by row.
func (p *postgres) add(ctx context.Context, m *mapping, fresh bool) error {
	return pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if fresh {
			p.rows = 0
			if _, err := tx.Exec(ctx, fmt.Sprintf("DROP TABLE IF EXISTS %[1]s; CREATE TABLE %[1]s (slot bigint PRIMARY KEY, v vector(%[2]d) NOT NULL)", p.table, m.dim)); err != nil {
				return err
			}
		}
		for p.rows < m.n {
			n := min(rowsAtOnce, m.n-p.rows)
			part, err := m.slice(p.rows, n)
			if err != nil {
				return err
			}
			first := p.rows
			_, err = tx.CopyFrom(ctx, pgx.Identifier{p.table}, []string{"slot", "v"}, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
				return []any{int64(first + i), pgvector.NewVector(part[i*m.dim : (i+1)*m.dim])}, nil
			}))
			if err != nil {
				return err
			}
			p.rows += n
		}
		if fresh {
			_, err := tx.Exec(ctx, fmt.Sprintf("CREATE INDEX ON %s USING hnsw (v vector_ip_ops)", p.table))
			return err
		}
		return nil
	})
}

// Search asks for what the graph finds; what is not permitted is left to the caller.
func (p *postgres) Search(ctx context.Context, queries []float32, k int, permitted []byte) ([]int64, error) {
	out := make([]int64, 0, k)
	few := min(efSearch, max(100, k/10)) // its vectors are whole, so that fewer candidates do than with FAISS's codes
	err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL hnsw.ef_search = %d", few)); err != nil {
			return err
		}
		for query := range slices.Chunk(queries, p.dim) {
			rows, err := tx.Query(ctx, "SELECT slot FROM "+p.table+" ORDER BY v <#> $1 LIMIT $2", pgvector.NewVector(query), few)
			if err != nil {
				return err
			}
			found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
			if err != nil {
				return err
			}
			for len(found) < k {
				found = append(found, -1)
			}
			out = append(out, found...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	return out, nil
}
