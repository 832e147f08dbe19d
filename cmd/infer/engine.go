package main

import "github.com/goclip/goclip/index"

// engineFlag chooses what finds the nearest vectors of an index.
type engineFlag struct {
	Engine index.Engine `help:"exact, or faiss: approximate, for millions of pictures, in what make build-faiss builds. infer index writes its file, which search and serve then use." default:"exact" enum:"exact,faiss"`
}

func (f engineFlag) check() error {
	if err := f.Engine.Check(); err != nil {
		return usageError("--engine " + string(f.Engine) + ": " + err.Error())
	}
	return nil
}
