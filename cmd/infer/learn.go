package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/goclip/goclip/index"
)

// paths are the values of a flag that takes several: --yes a.jpg b.jpg.
type paths []string

// Decode takes the values up to the next flag.
func (p *paths) Decode(ctx *kong.DecodeContext) error {
	if ctx.Scan.Peek().IsEOL() {
		return errors.New("missing value, expected \"PATH\"")
	}
	for {
		token, err := ctx.Scan.PopValue("path")
		if err != nil {
			return err
		}
		*p = append(*p, token.String())
		if next := ctx.Scan.Peek(); next.IsEOL() || !next.IsValue() || strings.HasPrefix(next.String(), "-") {
			return nil
		}
	}
}

type learnCmd struct {
	Name  string `arg:"" optional:"" help:"Word to learn, for use in queries." complete:"none"`
	Index string `help:"Directory of the index (default: .goclip in the working directory or above it)." placeholder:"DIR" complete:"dirs"`
	Yes   paths  `help:"Images that show it." placeholder:"PATH"`
	No    paths  `help:"Images that do not show it." placeholder:"PATH"`
	Text  string `help:"Rough description." complete:"none"`
	Reset bool   `help:"Start without the earlier examples and words."`

	Propose int  `help:"List the N images whose judgement would teach most." placeholder:"N"`
	List    bool `help:"List the learned words."`
	Export  bool `help:"Print the concept as JSON, with its examples and weights."`
	Remove  bool `help:"Remove the concept with all its versions."`

	Format string `help:"table or json." default:"table" enum:"table,json"`
	Device string `help:"auto, cpu, cuda or cuda:N." default:"auto" complete:"auto,cpu,cuda"`
}

func (*learnCmd) Help() string {
	return `Examples:

  infer learn rex --yes a.jpg b.jpg --no c.jpg --text "a brown dog"
  infer learn rex --propose 5                       images to answer next
  infer search "rex + beach"
  infer learn --list
  infer learn rex --export > rex.json`
}

func (c *learnCmd) Run(ctx context.Context, io *streams) error {
	if err := c.check(); err != nil {
		return err
	}
	ix, err := openFound(c.Index)
	if err != nil {
		return err
	}
	defer ix.Close()
	switch {
	case c.List:
		list, err := ix.Concepts(ctx)
		if err != nil {
			return err
		}
		return c.print(io, list)
	case c.Remove:
		if err := ix.RemoveConcept(ctx, c.Name); err != nil {
			return err
		}
		fmt.Fprintf(io.err, "infer: %s is forgotten\n", c.Name)
		return nil
	case c.Export:
		concept, err := ix.Concept(ctx, c.Name)
		if err != nil {
			return err
		}
		return printJSON(io.out, concept)
	case c.Propose > 0:
		return c.propose(ctx, io, ix)
	}
	return c.learn(ctx, io, ix)
}

// check refuses flags that do not go together.
func (c *learnCmd) check() error {
	teaches := len(c.Yes)+len(c.No) > 0 || c.Text != "" || c.Reset
	actions := 0
	for _, on := range []bool{c.List, c.Export, c.Remove, c.Propose > 0, teaches} {
		if on {
			actions++
		}
	}
	switch {
	case c.Propose < 0 || c.Propose > maxTop:
		return usageError(fmt.Sprintf("learn: --propose %d: must be between 1 and %d", c.Propose, maxTop))
	case actions > 1:
		return usageError("learn: examples, --propose, --list, --export and --remove do not go together")
	case c.Name == "" && !c.List:
		return usageError("learn: no word to learn: infer learn NAME --yes PATH; infer learn --help has examples")
	case c.Name != "" && c.List:
		return usageError("learn: --list takes no name")
	case teaches:
		if err := index.CheckConceptName(c.Name); err != nil {
			return usageError("learn: " + err.Error())
		}
	}
	return nil
}

func (c *learnCmd) learn(ctx context.Context, io *streams, ix *index.Index) error {
	info, err := ix.Info(ctx)
	if err != nil {
		return err
	}
	s := &searcher{skipped: skips{errs: io.err}, ix: ix, known: info.Model, name: info.Model.Name}
	encoder := s.encoder(&searchCmd{Device: c.Device, BatchSize: 32}, io)
	concept, err := ix.Learn(ctx, index.Lesson{Name: c.Name, Text: c.Text, Yes: c.Yes, No: c.No, Forget: c.Reset}, encoder)
	if err != nil {
		return err
	}
	return c.print(io, []index.Concept{concept})
}

// propose prints the images, with the score of a search for the concept.
func (c *learnCmd) propose(ctx context.Context, io *streams, ix *index.Index) error {
	concept, err := ix.Concept(ctx, c.Name)
	if err != nil {
		return err
	}
	hits, err := ix.Propose(ctx, concept, c.Propose, index.Filter{})
	if err != nil {
		return err
	}
	if c.Format == "json" {
		return printJSON(io.out, result{Results: found(hits)})
	}
	return printNames(io.out, false, pathsOf(hits)...)
}

// conceptJSON is a concept without its numbers.
type conceptJSON struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Learned time.Time `json:"learned"`
	Text    string    `json:"text,omitempty"`
	Yes     int       `json:"yes"`
	No      int       `json:"no"`
}

func (c *learnCmd) print(io *streams, list []index.Concept) error {
	out := make([]conceptJSON, len(list))
	for i, concept := range list {
		yes, no := concept.Count()
		out[i] = conceptJSON{concept.Name, concept.Version, concept.Learned, concept.Text, yes, no}
	}
	if c.Format == "json" {
		return printJSON(io.out, out)
	}
	t := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "word\tversion\tyes\tno\ttext")
	for _, concept := range out {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\n", concept.Name, concept.Version, concept.Yes, concept.No, cell(concept.Text))
	}
	return t.Flush()
}
