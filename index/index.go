package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/goclip/goclip/index/chance"
	"github.com/goclip/goclip/index/concept"
)

// DirName is the directory that holds the index of the directory around it.
const DirName = ".goclip"

// Index is an index that is open for searching. It sees what a [Writer], of this process or
// another, has committed. Its methods may be called from many goroutines.
type Index struct {
	dir, root string        // root: what paths are relative to, "" for absolute ones
	model     Model         // when it was opened
	turn      chan struct{} // held by the search that uses the threads
	engine    Engine

	mu      sync.Mutex
	file    *database // open at present
	mapped  *mapping  // of the last search; nil before
	closed  bool
	running sync.WaitGroup

	learning sync.Mutex     // guards the rest
	spread   *concept.Space // of the state spreadOf; nil before it was needed
	spreadOf int
	chance   *chance.Background // likewise
	chanceOf int
}

// Image is an image of an index.
type Image struct {
	Path    string // as it can be opened: relative to the working directory if the index was opened so
	Size    int64  // bytes
	ModTime time.Time
	Date    time.Time // when it was taken, by its EXIF data, or else ModTime
}

// Hit is an image that a search has found.
type Hit struct {
	Image
	Score float64 // cosine with the query

	Probability float64 // that it shows what the query says, by [Index.Judge]; 0 before
}

// Find returns the index of dir: the directory [DirName] in it or in one of those around it, as git
// looks for .git. It fails with fs.ErrNotExist.
func Find(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at, up := abs, dir; ; at, up = filepath.Dir(at), filepath.Join(up, "..") {
		if isIndex(filepath.Join(at, DirName)) {
			if filepath.IsAbs(dir) {
				up = at
			}
			return filepath.Join(up, DirName), nil
		}
		if filepath.Dir(at) == at {
			return "", fmt.Errorf("there is no index in %s or above it: %w", abs, fs.ErrNotExist)
		}
	}
}

func isIndex(dir string) bool {
	db, err := openDatabase(dir, false)
	if err == nil {
		db.Close()
	}
	return err == nil
}

// rootOf is what the paths of the index dir are relative to, "" if they are absolute.
func rootOf(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil && filepath.Base(abs) == DirName {
		return filepath.Join(dir, "..")
	}
	return ""
}

// Open opens an index for searching, exactly.
func Open(dir string) (*Index, error) { return open(dir, Exact) }

func open(dir string, e Engine) (*Index, error) {
	ix := &Index{dir: dir, root: rootOf(dir), turn: make(chan struct{}, 1), engine: e}
	err := ix.readAny(context.Background(), func(_ *sql.Tx, st state, _ *mapping) error {
		ix.model = st.model
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, ix.Close())
	}
	return ix, nil
}

// Close waits for the searches that run and gives everything back.
func (ix *Index) Close() error {
	ix.mu.Lock()
	ix.closed = true
	ix.mu.Unlock()
	ix.running.Wait()
	ix.mu.Lock()
	defer ix.mu.Unlock()
	return ix.forget()
}

var errClosed = errors.New("the index is closed")

// Info describes an index.
type Info struct {
	Model      Model
	Images     int
	Unreadable int // files that could not be read as images
	Bytes      int64

	Next    *Model // to which the index is being switched; nil if to none
	Encoded int    // of the images, those that have a vector of Next, or cannot be read
}

// Info tells what the index holds now.
func (ix *Index) Info(ctx context.Context) (info Info, err error) {
	err = ix.readAny(ctx, func(tx *sql.Tx, st state, _ *mapping) error {
		info.Model, info.Bytes = st.model, st.model.vectors().size(st.rows, st.model.EmbedDim)
		err := tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM pictures), (SELECT count(*) FROM unreadable)").Scan(&info.Images, &info.Unreadable)
		if err != nil {
			return broken(ix.dir, err)
		}
		next, begun, err := readNext(ctx, tx, ix.dir)
		if err != nil || !begun || next.model.Differs(st.model) == "" { // a rebuild is none
			return err
		}
		info.Next = &next.model
		err = tx.QueryRowContext(ctx, "SELECT count(*) FROM pictures WHERE path IN (SELECT path FROM next_pictures)").Scan(&info.Encoded)
		return broken(ix.dir, err)
	})
	return info, err
}

// outside makes a path of the database one that can be opened.
func outside(root, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(root, path)
}

// inside makes a path that can be opened one of the database.
func inside(root, path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil || root == "" {
		return abs, err
	}
	base, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(base, abs)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return abs, nil
	}
	return rel, nil
}

// within is an SQL condition for the paths below a directory, as inside gives it.
func within(dir string) (where string, args []any) {
	switch dir {
	case ".":
		return "(path < '/' OR path >= '0')", nil // every relative path
	case "/":
		return "(path >= '/' AND path < '0')", nil
	default:
		return "(path >= ? AND path < ?)", []any{dir + "/", dir + "0"} // 0 comes after /
	}
}
