package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/index"
)

type searchCmd struct {
	Index          string   `help:"Directory of an index (default: .goclip in DIR or above it, updated first)." placeholder:"DIR"`
	Text           []string `help:"Words to search for, taken literally." sep:"none" complete:"none"`
	Image          []string `help:"Image to search for." sep:"none" placeholder:"PATH"`
	Top            int      `short:"t" help:"Images to show." default:"10"`
	FilepathOnly   bool     `short:"f" help:"Print only paths, for pipes."`
	Null           bool     `short:"0" help:"With -f: end each path with a zero byte, for xargs -0."`
	Preview        bool     `short:"p" help:"Show the images in the terminal, by kitty's or iTerm2's protocol or as coloured blocks."`
	HTML           string   `name:"html" help:"Write an HTML page with thumbnails; with --duplicates, one in which images can be marked (nothing is deleted)." placeholder:"FILE"`
	Open           bool     `help:"Show the hits in the browser."`
	MinProbability *float64 `help:"Show how probable it is that an image shows what the words say, and leave out the images below this probability; 0 leaves out none." placeholder:"P"`
	engineFlag
	orientFlag
	framesFlag
	skipFlags
	NoIndexing bool     `short:"n" help:"Search without updating the index."`
	ExcludeDir []string `help:"Directory names to skip, besides hidden ones (${excluded})." sep:"none" placeholder:"NAME"`
	Format     string   `help:"table, json or csv." default:"table" enum:"table,json,csv"`

	filterFlags `group:"Only images"`

	Duplicates bool    `help:"Show groups of nearly equal images instead of searching."`
	Threshold  float64 `help:"Smallest cosine of images that --duplicates groups." default:"0.98"`

	Model      string `help:"Model for a new index (default: as for infer score). An existing index has its own." complete:"models"`
	Pretrained string `help:"Weights of a built-in config, as for infer index." complete:"tags"`
	Device     string `help:"auto, cpu, cuda or cuda:N." default:"auto" complete:"auto,cpu,cuda"`
	Threads    int    `help:"Threads of libtorch's kernels (default: the number of CPUs)."`
	PlainText  bool   `help:"Take special tokens inside the query, such as <|endoftext|>, as text."`
	BatchSize  int    `help:"Images per batch while indexing." default:"32"`

	Query []string `arg:"" optional:"" help:"Words or an image's path (./pool.jpg), then more terms after + or -, each optionally with WEIGHT: before it; then the directory (default: the working directory)."`
}

func (*searchCmd) Help() string {
	return `Examples:

  infer search "a red car"                          in the working directory
  infer search horse + stripes photos               images that match both, in photos
  infer search "2:golden retriever" + ./pool.jpg - fruit
  infer search -p -t 3 sunset                        with the images in the terminal
  infer search -f -0 -t 3 sunset | xargs -0 cp -t /tmp
  infer search --index INDEX --image dog.png --top 5 --since 2024-06-01`
}

func (c *searchCmd) Run(ctx context.Context, io *streams) error {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	if err := c.engineFlag.check(); err != nil {
		return err
	}
	if err := c.framesFlag.check(io.err); err != nil {
		return err
	}
	if c.Top < 1 || c.Top > maxTop {
		return usageError(fmt.Sprintf("--top %d: must be between 1 and %d", c.Top, maxTop))
	}
	if c.Null && !c.FilepathOnly {
		return usageError("search: --null goes with --filepath-only")
	}
	if c.Preview && (c.FilepathOnly || c.Format != "table") {
		return usageError("search: --preview goes with the table, not with --filepath-only or --format " + c.Format)
	}
	if c.MinProbability != nil && c.Duplicates {
		return usageError("search: --min-probability goes with a query, not with --duplicates")
	}
	if p := c.MinProbability; p != nil && !(*p >= 0 && *p <= 1) {
		return usageError(fmt.Sprintf("search: --min-probability %v: must be between 0 and 1", *p))
	}
	terms, dir, err := c.terms()
	if err != nil {
		return err
	}
	err = c.search(ctx, io, terms, dir, filter)
	if errors.Is(err, index.ErrSwitched) || errors.Is(err, index.ErrModel) && c.Model == "" { // another process has switched it meanwhile
		err = c.search(ctx, io, terms, dir, filter)
	}
	return err
}

func (c *searchCmd) search(ctx context.Context, io *streams, terms []index.Term, dir string, filter index.Filter) error {
	s, err := c.prepare(ctx, io, dir, &filter)
	if err != nil {
		return err
	}
	defer s.ix.Close()
	if c.Duplicates {
		groups, err := s.ix.Duplicates(ctx, c.Threshold, filter)
		if err != nil {
			return err
		}
		if c.HTML != "" {
			title := fmt.Sprintf("Images that are nearly the same: %d groups", len(groups))
			if err := writeGroups(ctx, c.HTML, title, groups, io.err); err != nil {
				return err
			}
		}
		return errors.Join(c.printDuplicates(io, groups), s.trouble)
	}
	if len(c.Text) == 0 { // --text is words as they stand
		if terms, err = s.ix.Resolve(ctx, terms); err != nil {
			return err
		}
	}
	query, err := s.vector(ctx, c, terms, io)
	if err != nil {
		return err
	}
	found, err := s.ix.Search(ctx, query, c.Top, filter)
	if err != nil {
		return err
	}
	hits := found[0]
	if c.MinProbability != nil {
		if hits, err = s.probable(ctx, c, io, terms, query, hits); err != nil {
			return err
		}
	}
	if err := c.print(ctx, io, s, terms, hits); err != nil {
		return err
	}
	return s.trouble
}

// probable are the hits of --min-probability or more.
func (s *searcher) probable(ctx context.Context, c *searchCmd, io *streams, terms []index.Term, query []float32, hits []index.Hit) (list []index.Hit, err error) {
	if err := index.OnlyWords(terms); err != nil {
		return nil, usageError("search: --min-probability: " + err.Error())
	}
	if err := s.ix.Judge(ctx, query, hits, s.encoder(c, io)); err != nil {
		return nil, err
	}
	for _, h := range hits {
		if h.Probability >= *c.MinProbability {
			list = append(list, h)
		}
	}
	if len(list) == 0 && len(hits) > 0 {
		fmt.Fprintf(io.err, "infer: nothing found: no image has a probability of %g or more; the nearest has %.3f: %s\n", *c.MinProbability, hits[0].Probability, quoted(hits[0].Path))
	}
	return list, nil
}

// maxTop bounds --top: beyond it a number is a slip.
const maxTop = 1 << 20

// terms are the query's, and dir is the directory behind it, "" if there is none.
func (c *searchCmd) terms() (terms []index.Term, dir string, err error) {
	rest := c.Query
	for _, text := range c.Text {
		terms = append(terms, index.Term{Text: text, Weight: 1})
	}
	for _, image := range c.Image {
		terms = append(terms, index.Term{Image: image, Weight: 1})
	}
	if len(terms) == 0 && !c.Duplicates {
		if len(c.Query) == 0 {
			return nil, "", usageError("search: no query: give words, the path of an image, or --duplicates; infer search --help has examples")
		}
		if terms, rest, err = index.ParseQuery(c.Query...); err != nil {
			return nil, "", usageError("search: " + err.Error())
		}
	}
	if len(rest) > 1 {
		return nil, "", usageError(fmt.Sprintf("search: %q: only one directory may follow the query; put the query's words in quotation marks", rest))
	}
	if len(rest) == 1 {
		dir = rest[0]
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() {
			return nil, "", usageError(fmt.Sprintf("search: %s is not a directory; a query of several words needs quotation marks around it", dir))
		}
		if c.Index != "" {
			return nil, "", usageError(fmt.Sprintf("search: --index %s and the directory %s both name images; drop one, or narrow the search with --folder %s", c.Index, dir, dir))
		}
	}
	for i, t := range terms {
		if info, err := os.Stat(t.Text); t.Text != "" && len(c.Text) == 0 && err == nil {
			if info.IsDir() && len(terms) == 1 && dir == "" {
				return nil, "", usageError(fmt.Sprintf("search: %s is a directory: give the words before it, as in infer search \"a dog\" %[1]s; --text %[1]s searches for the word", quoted(t.Text)))
			}
			if info.Mode().IsRegular() && preprocess.KindOf(nil, t.Text).Readable { // its name as words means nothing
				terms[i].Text, terms[i].Image = "", t.Text
			}
		}
		if rest, ok := strings.CutPrefix(t.Image, "~/"); ok {
			if home, err := os.UserHomeDir(); err == nil {
				terms[i].Image = filepath.Join(home, rest)
			}
		}
	}
	return terms, dir, nil
}

// searcher is an index that is up to date, and its model once it is needed.
type searcher struct {
	skipped skips
	trouble error // of bringing the index up to date, which the exit status tells
	ix      *index.Index
	at      string // its directory
	known   index.Model
	name    string
	model   *clip.Model // nil before

	pictures []string // that a new index is to hold, for the choice of its model
}

// prepare finds or makes the index and brings it up to date.
func (c *searchCmd) prepare(ctx context.Context, io *streams, dir string, filter *index.Filter) (*searcher, error) {
	s := &searcher{skipped: skips{verbose: c.Verbose, errs: io.err}}
	at, root := c.Index, ""
	if at == "" {
		if dir == "" {
			dir = "."
		}
		found, err := index.Find(dir)
		switch {
		case err == nil:
			at = found
			if filepath.Clean(filepath.Dir(at)) != filepath.Clean(dir) && filter.Folder == "" {
				filter.Folder = dir // of an index above, the directory that was asked for
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		case c.NoIndexing:
			return nil, fmt.Errorf("%w; without -n infer search makes one, and infer index --out DIR makes one elsewhere", err)
		default:
			at = filepath.Join(dir, index.DirName)
		}
		root = dir
	}
	if root != "" && !c.NoIndexing {
		if err := c.refresh(ctx, io, s, at, root); err != nil {
			return nil, err
		}
	}
	ix, err := openIndex(at, c.Engine)
	if err != nil {
		return nil, err
	}
	info, err := ix.Info(ctx)
	if err != nil {
		return nil, errors.Join(err, ix.Close())
	}
	if info.Next != nil {
		fmt.Fprintf(io.err, "infer: %s: %s\n", at, switching(info))
	}
	s.ix, s.at, s.known, s.name = ix, at, info.Model, info.Model.Name
	return s, nil
}

// refresh indexes what is new below root. Where the index is not to be written, it is searched as
// it is.
func (c *searchCmd) refresh(ctx context.Context, io *streams, s *searcher, at, root string) error {
	if c.Model != "" { // which is to be compared with the index's
		if err := s.open(ctx, c, io, index.Model{}); err != nil {
			return err
		}
	}
	o := index.UpdateOptions{Paths: []string{root}, Exclude: c.ExcludeDir, NoOrient: c.NoOrient, Frames: c.Frames, BatchSize: c.BatchSize, Engine: c.Engine}
	o.Open = func(ctx context.Context, known index.Model) (*clip.Model, error) {
		if known.Weights == "" {
			s.pictures, _ = listImages(ctx, []string{root}, c.framesFlag, unheard(), nil) // the update says what is wrong with them
		}
		err := s.open(ctx, c, io, known)
		return s.model, err
	}
	r, err := update(ctx, at, s.model, o, &s.skipped)
	readOnly := errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
	if _, missing := os.Stat(at); readOnly && missing != nil {
		return fmt.Errorf("%w; infer index --out DIR %s makes the index elsewhere, and infer search --index DIR searches it", err, quoted(root))
	}
	switch {
	case errors.Is(err, index.ErrLocked), readOnly:
		fmt.Fprintln(io.err, message(fmt.Errorf("the index is searched as it is: %w", err)))
		return nil
	case err == nil && r.Added+r.Changed+r.Removed > 0:
		fmt.Fprintf(io.err, "infer: %s: %s\n", quoted(at), summary(r))
	}
	if err == nil {
		s.skipped.tell(r.Unreadable)
		s.trouble = troubled([]string{root}, r, &s.skipped)
	}
	return err
}

// open opens the model that the index knows, or the one that the flags name.
func (s *searcher) open(ctx context.Context, c *searchCmd, io *streams, known index.Model) (err error) {
	if s.model != nil {
		return nil
	}
	f := modelFlags{Model: c.Model, Pretrained: c.Pretrained,
		computeFlags: computeFlags{Device: c.Device, Threads: c.Threads, BatchSize: c.BatchSize, Precision: "fp32", PlainText: c.PlainText}}
	if c.Model == "" && known.Weights != "" {
		s.model, err = f.openKnown(ctx, known, io.err)
		return err
	}
	if err := f.choose(ctx, io, s.pictures); err != nil {
		return err
	}
	s.model, err = f.open(ctx, io.err)
	return err
}

// openKnown opens an index's model, whatever the flags that name one say.
func (f modelFlags) openKnown(ctx context.Context, known index.Model, errs io.Writer) (*clip.Model, error) {
	f.as(known)
	m, err := f.open(ctx, errs)
	if err != nil {
		err = fmt.Errorf("%w (the index's model; --model names it where it lies now)", err)
	}
	return m, err
}

// vector is the query's. An image that the index holds needs no model, unless --model is to be
// compared.
func (s *searcher) vector(ctx context.Context, c *searchCmd, terms []index.Term, io *streams) ([]float32, error) {
	open := s.encoder(c, io)
	encoder := func(ctx context.Context) (clip.Encoder, error) {
		e, err := open(ctx)
		if err == nil {
			var texts []string
			for _, t := range terms {
				texts = append(texts, t.Text)
			}
			warnLanguage(s.model, texts, io.err)
		}
		return e, err
	}
	if c.Model != "" {
		if _, err := encoder(ctx); err != nil {
			return nil, err
		}
	}
	needsModel := func(t index.Term) bool { return t.Image != "" || foreignScript(t.Text) != "" } // of which it warns
	if s.model == nil && !c.PlainText && !slices.ContainsFunc(terms, needsModel) {                // a server reads special tokens
		row, err := combined(ctx, s.ix, terms, func(texts ...string) ([][]float32, error) { return askLocal(ctx, s.at, s.known, texts) })
		if err == nil {
			return row, nil // else the model is opened, and says what is wrong
		}
	}
	return s.ix.Query(ctx, terms, encoder)
}

// encoder opens the index's model when it is first needed.
func (s *searcher) encoder(c *searchCmd, io *streams) func(ctx context.Context) (clip.Encoder, error) {
	return func(ctx context.Context) (e clip.Encoder, err error) {
		if err := s.open(ctx, c, io, s.known); err != nil {
			return e, err
		}
		id, err := index.Identify(s.model, s.known.Files)
		if err != nil {
			return e, err
		}
		return clip.Encoder{Model: s.model, Orient: s.known.Orient, Cut: warnCut(s.model, io.err)}, s.known.Same(id)
	}
}
