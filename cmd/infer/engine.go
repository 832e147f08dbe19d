package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/goclip/goclip/index"
)

// engineFlag chooses what finds the nearest vectors of an index.
type engineFlag struct {
	Engine index.Engine `help:"exact; or an approximate engine for millions of images: faiss (needs make build-faiss), or PostgreSQL with pgvector, postgres://USER@HOST/DATABASE (password in PGPASSWORD or ~/.pgpass). infer index copies the vectors to it; search and serve query it." default:"exact" placeholder:"ENGINE" complete:"exact,faiss,postgres://"`
}

func (f engineFlag) check() error {
	if err := f.Engine.Check(); err != nil {
		return usageError("--engine: " + err.Error())
	}
	return nil
}

// openIndex opens an index for searching.
func openIndex(dir string, e index.Engine) (*index.Index, error) {
	ix, err := index.OpenWith(dir, e)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; infer index makes one", err)
	}
	return ix, err
}
