package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index"
)

type indexCmd struct {
	modelFlags
	orientFlag
	framesFlag
	Out        string   `help:"Directory of the index (default: .goclip in the only PATH)." placeholder:"DIR"`
	ExcludeDir []string `help:"Directory names to skip, besides hidden ones (${excluded})." sep:"none" placeholder:"NAME"`
	engineFlag
	Storage     string   `help:"Precision of the stored vectors: float32, or float16 for half of the size. Only for a new index or with --rebuild (default: the index's own, else float32)." enum:",float32,float16" default:"" placeholder:"TYPE" complete:"float32,float16"`
	Rebuild     bool     `help:"Index everything again, including damaged parts; searches use the former index until it is done."`
	KeepMissing bool     `help:"Keep images whose files no longer exist."`
	Verify      bool     `help:"Only compare every vector with its checksum."`
	CommitEvery int      `help:"Images per commit; a commit also happens after two seconds." default:"512"`
	Verbose     bool     `help:"Print + PATH for each image committed to the index and - PATH for each removed one; name skipped files on stderr."`
	Paths       []string `arg:"" optional:"" name:"path" help:"Images and directories, searched recursively (default: the working directory)."`
}

func (*indexCmd) Help() string {
	return `Examples:

  infer index photos                                  photos/.goclip, which infer search finds
  infer index --model ViT-B-32 --pretrained laion2b_s34b_b79k --out INDEX photos archive
  infer index --model ViT-L-14:openai --out INDEX photos    change the model of an index
  infer index --verify --out INDEX`
}

func (c *indexCmd) Run(ctx context.Context, io *streams) error {
	if len(c.Paths) == 0 {
		c.Paths = []string{"."}
	}
	if c.Out == "" {
		info, err := os.Stat(c.Paths[0])
		if len(c.Paths) > 1 || err != nil || !info.IsDir() {
			return usageError("--out is missing; it may be left out only with one directory, which then holds the index")
		}
		c.Out = filepath.Join(c.Paths[0], index.DirName)
	}
	if err := c.engineFlag.check(); err != nil {
		return err
	}
	if err := c.framesFlag.check(io.err); err != nil {
		return err
	}
	if c.CommitEvery < 1 {
		return usageError(fmt.Sprintf("--commit-every %d: must be at least 1", c.CommitEvery))
	}
	if c.Verify {
		return c.verify(ctx, io)
	}
	known, err := c.known(ctx)
	if err != nil {
		return err
	}
	named := c.Model != "" || c.Pretrained != "" // else an index keeps its model
	var m *clip.Model
	if known != nil && !named {
		m, err = c.openKnown(ctx, known.Model, io.err)
	} else {
		pictures, unlisted := listImages(ctx, c.Paths, c.framesFlag, unheard(), nil)
		if unlisted != nil { // which the update says in its own words
			pictures = nil
		}
		m, err = c.openFor(ctx, io, pictures)
	}
	if err != nil {
		return err
	}
	if _, err := packOnAMX(m, math.MaxInt, io.err); err != nil {
		return err
	}
	o := index.UpdateOptions{Paths: c.Paths, Exclude: c.ExcludeDir, KeepMissing: c.KeepMissing, NoOrient: c.NoOrient, Frames: c.Frames, Rebuild: c.Rebuild, Switch: named,
		Storage: c.Storage, Engine: c.Engine, BatchSize: c.BatchSize, CommitEvery: c.CommitEvery}
	if c.Verbose {
		o.Committed = func(removed, added []string) error {
			for _, path := range removed {
				if err := printNames(io.out, false, "- "+path); err != nil {
					return err
				}
			}
			for _, path := range added {
				if err := printNames(io.out, false, "+ "+path); err != nil {
					return err
				}
			}
			return nil
		}
	}
	skipped := skips{verbose: c.Verbose, errs: io.err}
	r, err := update(ctx, c.Out, m, o, &skipped)
	if now, unread := c.known(context.WithoutCancel(ctx)); unread == nil && now != nil && now.Next != nil { // it was stopped, or waits
		fmt.Fprintf(io.err, "infer: %s: %s\n", quoted(c.Out), switching(*now))
	}
	if err != nil {
		return err
	}
	if r.Switched && !c.Rebuild {
		fmt.Fprintf(io.err, "infer: %s: every image has an embedding of %s, which searches use from now on\n", quoted(c.Out), m.Name)
	}
	fmt.Fprintf(io.err, "infer: %s: %s\n", quoted(c.Out), summary(r))
	skipped.tell(r.Unreadable)
	return troubled(c.Paths, r, &skipped)
}

// troubled is the exit status of an update: of trouble that was reported, and of a place that holds
// nothing to be found.
func troubled(paths []string, r index.Result, skipped *skips) error {
	if r.Added+r.Changed+r.Removed+r.Same == 0 && r.Problems == 0 {
		return noImages(strings.Join(paths, ", "), skipped)
	}
	if r.Unreadable+r.Problems > 0 {
		return errReported
	}
	return nil
}

// known describes the index; nil where there is none that can be read.
func (c *indexCmd) known(ctx context.Context) (*index.Info, error) {
	if info, err := os.Stat(c.Out); err != nil || !info.IsDir() { // to be made, or refused then
		return nil, nil
	}
	ix, err := index.Open(c.Out)
	if errors.Is(err, fs.ErrNotExist) || c.Rebuild && err != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := ix.Info(ctx)
	return &info, errors.Join(err, ix.Close())
}

// switching tells how far a switch to another model is.
func switching(info index.Info) string {
	return fmt.Sprintf("%d of %d images have embeddings of %s; searches use %s until all have them (infer index --model %s resumes)",
		info.Encoded, info.Images, info.Next.Name, info.Model.Name, info.Next.Name)
}

// update brings an index up to date and shows how far it is.
func update(ctx context.Context, dir string, m *clip.Model, o index.UpdateOptions, skipped *skips) (index.Result, error) {
	var show *progress
	errs := skipped.errs
	o.Problem = skipped.problem
	o.Skipped = func(s *index.Skipped) { skipped.add(s.Path, s.Kind) }
	o.Found = func(images int) {
		if o.Open != nil && images > 0 { // nobody asked for it, and it may take a while
			fmt.Fprintf(errs, "infer: indexing %d images into %s\n", images, quoted(dir))
		}
		show = newProgress(errs, "images", images)
	}
	o.Encoded = func(_ string, err error) {
		show.add(err != nil)
		if err != nil {
			show.line(message(err))
		}
	}
	r, err := index.Update(ctx, dir, m, &o)
	if show != nil {
		show.close()
	}
	if errors.Is(err, context.Canceled) && r.New > 0 {
		return r, fmt.Errorf("interrupted; %d of %d images are in the index, and the next run resumes there", r.Added+r.Changed, r.New)
	}
	if r.EngineChanged {
		fmt.Fprintf(errs, "infer: %s: the engine has every vector\n", dir)
	}
	return r, err
}

func summary(r index.Result) string {
	text := fmt.Sprintf("%d images added, %d changed, %d removed, %d as they were", r.Added, r.Changed, r.Removed, r.Same)
	if r.Unreadable > 0 {
		text += fmt.Sprintf(", %d could not be read", r.Unreadable)
	}
	if n := r.Added + r.Changed; n > 0 && r.Took > time.Second { // less tells of no rate
		text += fmt.Sprintf("; %.0f images a second", float64(n)/r.Took.Seconds())
	}
	return text
}

func (c *indexCmd) verify(ctx context.Context, io *streams) error {
	ix, err := openIndex(c.Out, index.Exact)
	if err != nil {
		return err
	}
	defer ix.Close()
	if err := ix.Verify(ctx); err != nil {
		return err
	}
	info, err := ix.Info(ctx)
	if err == nil {
		_, err = fmt.Fprintf(io.out, "%s: %d images, %d MB of vectors, every checksum right; model %s\n", c.Out, info.Images, info.Bytes/1e6, info.Model.Name)
	}
	return err
}

// identify opens the model and tells what it is.
func (f *modelFlags) identify(ctx context.Context, errs io.Writer, known []index.Sum) (*clip.Model, index.Model, error) {
	m, err := f.open(ctx, errs)
	if err != nil {
		return nil, index.Model{}, err
	}
	id, err := index.Identify(m, known)
	return m, id, err
}

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

// openFound opens an index for searching: at, or the one in the working directory or above it.
func openFound(at string) (*index.Index, error) {
	if at == "" {
		var err error
		if at, err = index.Find("."); err != nil {
			return nil, fmt.Errorf("%w; --index names one, infer index makes one", err)
		}
	}
	return openIndex(at, index.Exact)
}

// openIndex opens an index for searching.
func openIndex(dir string, e index.Engine) (*index.Index, error) {
	ix, err := index.OpenWith(dir, e)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; infer index makes one", err)
	}
	return ix, err
}
