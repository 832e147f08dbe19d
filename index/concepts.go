package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Concept is a word that an index has learned from examples. Each time it is learned it becomes a
// new version; the earlier ones stay, and NAME@VERSION names them in a query.
type Concept struct {
	Name     string    `json:"name"`
	Version  int       `json:"version"` // from 1
	Learned  time.Time `json:"learned"`
	Text     string    `json:"text,omitempty"` // where the search begins, before examples
	Examples []Example `json:"examples"`

	Weights   string `json:"weights"` // of the model, as in Model
	Transform string `json:"transform"`

	Row   []float32 `json:"row"` // the direction of a search, L2-normalised
	Scale float64   `json:"scale"`
	Bias  float64   `json:"bias"` // Scale * cosine + Bias is above 0 for what is taken for the concept
}

// Example is an image that was judged.
type Example struct {
	Path string    `json:"path"` // as in the index: relative to the directory around it, if it was made so
	Yes  bool      `json:"yes"`
	Row  []float32 `json:"row"` // L2-normalised
}

// Count returns how many examples show the concept, and how many do not.
func (c *Concept) Count() (yes, no int) {
	for _, e := range c.Examples {
		if e.Yes {
			yes++
		} else {
			no++
		}
	}
	return yes, no
}

// ErrNoConcept is inside the error for a name that was not learned.
var ErrNoConcept = errors.New("no such concept was learned")

// conceptsName is a database of its own: concepts outlive what pictures.db holds, which can be made
// again from the images.
const conceptsName = "concepts.db"

const conceptsSchema = `
CREATE TABLE IF NOT EXISTS concepts (
	name    TEXT NOT NULL,
	version INTEGER NOT NULL,
	body    TEXT NOT NULL, -- JSON
	PRIMARY KEY (name, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS background (
	key  TEXT PRIMARY KEY, -- SHA-256 of the texts and the model
	rows BLOB NOT NULL     -- float32, little-endian
) WITHOUT ROWID;
`

// No {0,63}: a class of letters that repeats so takes 6 ms to compile, at the start of each program.
var conceptName = regexp.MustCompile(`^[\pL\pN][\pL\pN_-]*$`)

// CheckConceptName says what is wrong with a name: it must be a word, so that it can stand in a
// query.
func CheckConceptName(name string) error {
	if !conceptName.MatchString(name) || utf8.RuneCountInString(name) > 64 {
		return fmt.Errorf("the concept's name %q: it must be one word of up to 64 letters, digits, - and _, and begin with a letter or digit", name)
	}
	return nil
}

// withConcepts runs f on the concepts' database; f gets nil where there is none and make is not set.
func (ix *Index) withConcepts(make bool, f func(path string, db *sql.DB) error) error {
	path, err := filepath.Abs(filepath.Join(ix.dir, conceptsName))
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && !make {
		return f(path, nil)
	}
	db, err := openSQLite(path, make)
	if err != nil {
		return err
	}
	tables := 1
	if make {
		_, err = db.Exec(conceptsSchema)
	} else { // another process may be about to make it
		err = db.QueryRow("SELECT count(*) FROM sqlite_master WHERE name = 'concepts'").Scan(&tables)
	}
	switch {
	case err != nil:
		err = brokenFile(path, err)
	case tables == 0:
		err = f(path, nil)
	default:
		err = f(path, db)
	}
	return errors.Join(err, db.Close())
}

// Concepts returns the newest versions, by name.
func (ix *Index) Concepts(ctx context.Context) (list []Concept, err error) {
	err = ix.withConcepts(false, func(path string, db *sql.DB) error {
		list, err = readConcepts(ctx, path, db, "version = (SELECT max(version) FROM concepts AS c WHERE c.name = concepts.name) ORDER BY name")
		return err
	})
	return list, err
}

// Concept returns the newest version of a name, or that of NAME@VERSION. Its error matches ErrNoConcept.
func (ix *Index) Concept(ctx context.Context, name string) (Concept, error) {
	bare, version, versioned := strings.Cut(name, "@")
	condition, args := "name = ? ORDER BY version DESC LIMIT 1", []any{bare}
	if versioned {
		n, err := strconv.Atoi(version)
		if err != nil {
			return Concept{}, fmt.Errorf("%s: %w", name, ErrNoConcept)
		}
		condition, args = "name = ? AND version = ?", []any{bare, n}
	}
	var list []Concept
	err := ix.withConcepts(false, func(path string, db *sql.DB) (err error) {
		list, err = readConcepts(ctx, path, db, condition, args...)
		return err
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s: %w", name, ErrNoConcept)
	}
	if err != nil {
		return Concept{}, err
	}
	return list[0], nil
}

func readConcepts(ctx context.Context, path string, db *sql.DB, where string, args ...any) (list []Concept, err error) {
	if db == nil {
		return nil, nil
	}
	rows, err := db.QueryContext(ctx, "SELECT body FROM concepts WHERE "+where, args...)
	if err != nil {
		return nil, brokenFile(path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var body string
		if err := rows.Scan(&body); err != nil {
			return nil, brokenFile(path, err)
		}
		var c Concept
		if err := json.Unmarshal([]byte(body), &c); err != nil {
			return nil, damaged(path, "a concept in it cannot be read: %v", err)
		}
		list = append(list, c)
	}
	return list, brokenFile(path, rows.Err())
}

// addConcept stores c as the next version of its name.
func (ix *Index) addConcept(ctx context.Context, c *Concept) error {
	return ix.withConcepts(true, func(path string, db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return brokenFile(path, err)
		}
		defer tx.Rollback()
		// A write first: SQLite would otherwise refuse it where another process wrote after the read.
		if _, err := tx.ExecContext(ctx, "INSERT INTO concepts (name, version, body) SELECT ?, coalesce(max(version), 0) + 1, '' FROM concepts WHERE name = ?", c.Name, c.Name); err != nil {
			return brokenFile(path, err)
		}
		if err := tx.QueryRowContext(ctx, "SELECT max(version) FROM concepts WHERE name = ?", c.Name).Scan(&c.Version); err != nil {
			return brokenFile(path, err)
		}
		body, err := json.Marshal(c)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE concepts SET body = ? WHERE name = ? AND version = ?", string(body), c.Name, c.Version); err != nil {
			return brokenFile(path, err)
		}
		return brokenFile(path, tx.Commit())
	})
}

// RemoveConcept removes a name with all its versions. Its error matches ErrNoConcept.
func (ix *Index) RemoveConcept(ctx context.Context, name string) error {
	return ix.withConcepts(false, func(path string, db *sql.DB) error {
		var n int64
		if db != nil {
			r, err := db.ExecContext(ctx, "DELETE FROM concepts WHERE name = ?", name)
			if err != nil {
				return brokenFile(path, err)
			}
			if n, err = r.RowsAffected(); err != nil {
				return brokenFile(path, err)
			}
		}
		if n == 0 {
			return fmt.Errorf("%s: %w", name, ErrNoConcept)
		}
		return nil
	})
}
