package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
)

// pipIndex is the package index that pip is configured for. pip's listing is used rather than `pip
// download`, which cannot continue an interrupted download.
type pipIndex struct {
	pip       []string
	authority string // the certificate file that pip trusts, or ""
}

func (c *console) openIndex(ctx context.Context, cache string) (*pipIndex, error) {
	pip, err := c.findPip(ctx, cache)
	if err != nil {
		return nil, err
	}
	authority := os.Getenv("PIP_CERT")
	if authority == "" {
		authority = output(ctx, pip[0], slices.Concat(pip[1:], []string{"config", "get", "global.cert"})...)
	}
	return &pipIndex{pip, authority}, nil
}

// find asks the index where the file of a wheel is.
func (i *pipIndex) find(ctx context.Context, w wheel) (url string, err error) {
	// Its exit status says nothing: it fails too where no file suits this machine's Python.
	listing, _ := command(ctx, i.pip, "index", "versions", "-vvv", "--disable-pip-version-check", "--retries", "1", "--timeout", "20", w.name)
	url = regexp.MustCompile(`(?:https?|file)://[^ #]*/` + regexp.QuoteMeta(w.file)).FindString(listing)
	switch {
	case url != "":
		return url, nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case regexp.MustCompile(`://[^ ]*\.(whl|tar\.gz)`).MatchString(listing):
		return "", fmt.Errorf("the package index that pip is configured for has no %s; get that file elsewhere, and name its directory in GOCLIP_WHEELS", w.file)
	}
	return "", fmt.Errorf("the package index that pip is configured for does not answer for %s: check the network (and pip config list), or name a directory that has %s in GOCLIP_WHEELS", w.name, w.file)
}

// findPip gives a pip that is there, or one in a virtual environment inside the cache: no Python
// package is installed where others would see it.
func (c *console) findPip(ctx context.Context, cache string) ([]string, error) {
	python := program("PYTHON", "python3")
	venv := filepath.Join(cache, "venv")
	works := func(python string) bool {
		_, err := command(ctx, []string{python, "-m", "pip", "--version"})
		return err == nil
	}
	make := func() bool {
		_, err := command(ctx, []string{python, "-m", "venv", venv})
		if err != nil {
			_ = os.RemoveAll(venv)
		}
		return err == nil
	}
	inVenv := filepath.Join(venv, "bin", "python")
	switch {
	case works(python):
		return []string{python, "-m", "pip"}, nil
	case works(inVenv), make():
		return []string{inVenv, "-m", "pip"}, nil
	}
	if err := installParts(ctx, c, []string{"venv"}); err != nil {
		return nil, err
	}
	if !make() {
		return nil, fmt.Errorf("%s cannot make a virtual environment with pip in %s", python, venv)
	}
	return []string{inVenv, "-m", "pip"}, nil
}

// command runs a program and gives all that it printed.
func command(ctx context.Context, words []string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, words[0], slices.Concat(words[1:], args)...).CombinedOutput()
	return string(out), err
}
