package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index"
)

type indexCmd struct {
	modelFlags
	Out        string   `help:"Directory of the index; without, .goclip in the one PATH that is given." placeholder:"DIR"`
	ExcludeDir []string `help:"Names of directories to leave out, besides hidden ones (${excluded})." sep:"none" placeholder:"NAME"`
	engineFlag
	Rebuild     bool     `help:"Throw away what the index holds, damaged or of another model, and index all anew."`
	KeepMissing bool     `help:"Keep pictures in the index whose files are gone."`
	Verify      bool     `help:"Compare every vector of the index with its checksum, and index nothing."`
	CommitEvery int      `help:"Pictures after which what was indexed is made safe; two seconds are enough, too." default:"512"`
	Verbose     bool     `help:"A line on stdout for each picture that is safe in the index: + PATH, or - PATH for one that was removed."`
	Paths       []string `arg:"" optional:"" name:"path" help:"Pictures, and directories that are walked; the default is the working directory."`
}

func (*indexCmd) Help() string {
	return `  infer index photos                                  photos/.goclip, which infer search finds by itself
  infer index --model ViT-B-32 --pretrained laion2b_s34b_b79k --out INDEX photos archive
  infer index --verify --out INDEX`
}

func (c *indexCmd) Run(ctx context.Context, io *streams) error {
	if len(c.Paths) == 0 {
		c.Paths = []string{"."}
	}
	if c.Out == "" {
		info, err := os.Stat(c.Paths[0])
		if len(c.Paths) > 1 || err != nil || !info.IsDir() {
			return usageError("--out DIR is wanted, or one directory, which then holds the index")
		}
		c.Out = filepath.Join(c.Paths[0], index.DirName)
	}
	if err := c.engineFlag.check(); err != nil {
		return err
	}
	if c.CommitEvery < 1 {
		return usageError(fmt.Sprintf("--commit-every %d: at least 1 is wanted", c.CommitEvery))
	}
	if c.Verify {
		return c.verify(ctx, io)
	}
	m, id, err := c.identify(ctx, io.err, index.Sums(c.Out))
	if err != nil {
		return err
	}
	if c.Rebuild {
		if err := index.Destroy(c.Out); err != nil {
			return err
		}
	}
	u := update{dir: c.Out, paths: c.Paths, exclude: c.ExcludeDir, keep: c.KeepMissing, batch: c.BatchSize, commit: c.CommitEvery, errs: io.err, engine: c.Engine}
	if c.Verbose {
		u.lines = io.out
	}
	d, err := u.run(ctx, m, id)
	if err != nil {
		return err
	}
	fmt.Fprintf(io.err, "infer: %s: %s\n", c.Out, d)
	if d.failed() {
		return errReported
	}
	return nil
}

func (c *indexCmd) verify(ctx context.Context, io *streams) error {
	ix, err := index.Open(c.Out)
	if err != nil {
		return err
	}
	defer ix.Close()
	if err := ix.Verify(ctx); err != nil {
		return err
	}
	info, err := ix.Info(ctx)
	if err == nil {
		_, err = fmt.Fprintf(io.out, "%s: %d pictures, %d MB of vectors, every checksum right; model %s\n", c.Out, info.Pictures, info.Bytes/1e6, info.Model.Name)
	}
	return err
}

// identify opens the model and tells what it is.
func (f *modelFlags) identify(ctx context.Context, errs io.Writer, known []index.Sum) (*clip.Model, index.Model, error) {
	m, err := f.open(ctx, errs)
	if err != nil {
		return nil, index.Model{}, err
	}
	o, err := f.options(errs)
	if err != nil {
		return nil, index.Model{}, err
	}
	id, err := index.Identify(m, o, known)
	return m, id, err
}

// update brings an index up to date with the pictures on the disk.
type update struct {
	dir     string
	paths   []string
	exclude []string
	keep    bool // pictures whose files are gone
	batch   int
	commit  int // pictures that wait at most
	errs    io.Writer
	lines   io.Writer // told of each picture that is safe; nil for silence
	quiet   bool      // no word if nothing is new
	engine  index.Engine

	lazily func() (*clip.Model, error) // opens the model where run gets none, if a picture is new
}

// done is what an update has done.
type done struct {
	added, changed, removed, same, unreadable, problems int
	took                                                time.Duration
}

func (d done) failed() bool { return d.unreadable > 0 || d.problems > 0 }

func (d done) String() string {
	text := fmt.Sprintf("%d pictures added, %d changed, %d removed, %d as they were", d.added, d.changed, d.removed, d.same)
	if d.unreadable > 0 {
		text += fmt.Sprintf(", %d could not be read", d.unreadable)
	}
	if n := d.added + d.changed; n > 0 && d.took > 0 {
		text += fmt.Sprintf("; %.0f pictures a second", float64(n)/d.took.Seconds())
	}
	return text
}

// defaultCommit and commitAfter: a commit makes pictures safe when so many wait, or when they have waited so long.
const (
	defaultCommit = 512
	commitAfter   = 2 * time.Second
)

func (u *update) run(ctx context.Context, m *clip.Model, id index.Model) (d done, err error) {
	w, err := index.OpenWriter(u.dir, id)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	changes, err := w.Changes(ctx, u.paths, append(u.exclude, index.Excluded...))
	if err != nil {
		return d, err
	}
	for _, problem := range changes.Problems {
		fmt.Fprintln(u.errs, message(problem))
	}
	d.problems, d.same = len(changes.Problems), changes.Same
	began := time.Now()
	defer func() { d.took = time.Since(began) }()
	var waiting []string // lines of what the next commit makes safe
	if !u.keep {
		for _, path := range changes.Gone {
			if err := w.Remove(path); err != nil {
				return d, err
			}
			waiting = append(waiting, "- "+path)
		}
		d.removed = len(changes.Gone)
	}
	commit := func() error {
		if err := w.Commit(); err != nil {
			return err
		}
		for _, line := range waiting {
			if u.lines != nil {
				if _, err := fmt.Fprintln(u.lines, line); err != nil {
					return err
				}
			}
		}
		waiting = waiting[:0]
		return nil
	}
	for _, f := range changes.Undated {
		f.Taken = index.Taken(f.Path)
		err := w.Date(f)
		if err == nil && w.Pending() >= u.commit {
			err = commit()
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return d, err
		}
	}
	files, paths := map[string]index.File{}, make([]string, len(changes.New))
	for i, f := range changes.New {
		files[f.Path], paths[i] = f, f.Path
	}
	if n := len(paths); n > 0 && u.quiet {
		fmt.Fprintf(u.errs, "infer: indexing %d pictures into %s\n", n, u.dir)
	}
	if m == nil && len(paths) > 0 {
		if m, err = u.lazily(); err != nil {
			return d, err
		}
	}
	show := newProgress(u.errs, "pictures", len(paths))
	last := time.Now()
	if len(paths) > 0 {
		err = eachPicture(ctx, m, fromFiles(paths), u.batch, false, func(p picture) error {
			show.add(p.err != nil)
			var err error
			if p.err != nil {
				d.unreadable++
				show.line(message(p.err))
				err = w.Unreadable(files[p.path], p.err)
			} else {
				f := files[p.path]
				f.Taken = index.Taken(p.path)
				err = w.Add(f, p.row)
				d.added++
				waiting = append(waiting, "+ "+p.path)
			}
			if err == nil && (w.Pending() >= u.commit || time.Since(last) > commitAfter) {
				err, last = commit(), time.Now()
			}
			return err
		})
	}
	show.close()
	if errors.Is(err, context.Canceled) {
		if err := commit(); err != nil {
			return d, err
		}
		return d, fmt.Errorf("interrupted; %d of %d pictures are in the index, and the next run goes on from there", d.added, len(paths))
	}
	if err != nil {
		return d, err
	}
	d.changed = min(changes.Changed, d.added)
	d.added -= d.changed
	if err := commit(); err != nil {
		return d, err
	}
	if err := w.Compact(ctx, false); err != nil {
		return d, err
	}
	changed, err := w.UpdateEngine(ctx, u.engine)
	if changed {
		fmt.Fprintf(u.errs, "infer: %s: the engine has every vector\n", u.dir)
	}
	return d, err
}
