package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
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
	"github.com/goclip/goclip/torch"
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
	if len(names) == 0 { // --pretrained alone
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
	if err == nil {
		var amx bool
		if amx, err = packOnAMX(model, math.MaxInt, errs); amx && err == nil {
			err = model.PackTexts(torch.PackBFloat16x3)
		}
	}
	if err == nil && c.CUDAGraphs {
		if err = model.UseGraphs(); err != nil {
			err = usageError("--cuda-graphs: " + strings.TrimPrefix(err.Error(), "clip: "))
		}
	}
	return model, err
}

// choose names the models where no flag does: those of the indices, else as for all commands.
func (c *serveCmd) choose(ctx context.Context, io *streams) error {
	if len(c.Model) > 0 || c.Pretrained != "" {
		return nil
	}
	var f modelFlags
	if len(c.Index) == 0 {
		if err := f.choose(ctx, io, nil); err != nil {
			return err
		}
		c.Model = []string{f.Model}
		return nil
	}
	for _, dir := range c.Index {
		ix, err := openIndex(dir, index.Exact)
		if err != nil {
			return err
		}
		info, err := ix.Info(ctx)
		if err = errors.Join(err, ix.Close()); err != nil {
			return fmt.Errorf("--index %s: %w", dir, err)
		}
		if f.as(info.Model); !slices.Contains(c.Model, f.Model) {
			c.Model = append(c.Model, f.Model)
		}
	}
	if len(c.Model) == 1 {
		c.Pretrained, c.loadFlags, c.Seed = f.Pretrained, f.loadFlags, f.Seed
	}
	return nil
}

// notice is what the page says of the built-in model: that it knows emoji. An index of emoji needs no
// such word.
func (c *serveCmd) notice(ctx context.Context, list []*servedModel, all shelves) (string, error) {
	if list[0].flags.Model != models.Default {
		return "", nil
	}
	if len(all) > 0 {
		info, err := all[0].Info(ctx)
		if err != nil {
			return "", err
		}
		some := make([]float32, info.Model.EmbedDim) // a query for which some images are found
		some[0] = 1
		hits, err := all[0].Index.Search(ctx, some, sampled, index.Filter{})
		if err != nil {
			return "", err
		}
		if len(hits) == 0 || !photographs(ctx, pathsOf(hits[0])) {
			return "", nil
		}
	}
	return "this server's model knows emoji, not photographs; a model that does: infer serve --model " + offered, nil
}

// said names the models.
func (c *serveCmd) said(list []*servedModel) string {
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}
