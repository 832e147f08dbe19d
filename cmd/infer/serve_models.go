package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/serve"
)

// servedModel is one --model.
type servedModel struct {
	serve.Model
	flags modelFlags
	known atomic.Pointer[index.Model] // of the index that it must fit; nil without one
	index string                      // which that is
}

// models are what --model names. A single one is loaded at the start, as its faults are then said
// at once.
func (c *serveCmd) models(errs io.Writer) ([]*servedModel, error) {
	names := c.Model
	if len(names) == 0 {
		names = []string{models.Default}
	}
	times := map[string]int{}
	for _, name := range names {
		times[filepath.Base(name)]++
	}
	var list []*servedModel
	for _, name := range names {
		_, missing := os.Stat(name)
		n, unknown := pretrained.ParseName(name, tower.ConfigNames())
		if missing != nil && unknown != nil {
			return nil, fmt.Errorf("--model: %w; infer models lists the names", unknown)
		}
		m := &servedModel{flags: modelFlags{Model: name, Pretrained: c.Pretrained, computeFlags: c.computeFlags}}
		m.Name, m.Aliases = filepath.Base(name), []string{name}
		if times[m.Name] > 1 {
			m.Name, m.Aliases = name, nil
		}
		if _, err := m.flags.options(io.Discard); err != nil {
			return nil, err
		}
		if unknown == nil && n.Config != "" && cmp.Or(n.Tag, c.Pretrained) != "" {
			m.Aliases = append(m.Aliases, n.Config+"__"+cmp.Or(n.Tag, c.Pretrained)) // Immich's spelling
		}
		m.Preload = c.Preload || len(names) == 1
		m.Open = func(ctx context.Context) (*clip.Model, error) { return c.openServed(ctx, m, errs) }
		list = append(list, m)
	}
	for _, alias := range c.Alias {
		alias, of, _ := strings.Cut(alias, "=")
		i := slices.IndexFunc(list, func(m *servedModel) bool { return of == "" || m.Name == of || m.flags.Model == of })
		if i < 0 {
			return nil, usageError(fmt.Sprintf("--alias %s=%s: no --model is %s", alias, of, of))
		}
		list[i].Aliases = append(list[i].Aliases, alias)
	}
	return list, nil
}

// openServed opens a model, which must be that of its index.
func (c *serveCmd) openServed(ctx context.Context, m *servedModel, errs io.Writer) (model *clip.Model, err error) {
	known := m.known.Load()
	if known == nil {
		model, err = m.flags.open(ctx, errs)
	} else {
		var id index.Model
		if model, id, err = m.flags.identify(ctx, errs, known.Files); err == nil {
			if err = known.Same(id); err != nil {
				err = fmt.Errorf("--index %s: %w", m.index, err)
			}
		}
	}
	if err == nil && c.CUDAGraphs {
		if err = model.UseGraphs(); err != nil {
			err = usageError("--cuda-graphs: " + strings.TrimPrefix(err.Error(), "clip: "))
		}
	}
	return model, err
}

// said names the models.
func (c *serveCmd) said(list []*servedModel) string {
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}
