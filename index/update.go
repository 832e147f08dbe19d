package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
)

// UpdateOptions say what an index is to hold. The zero value is for an index that is called
// [DirName]: it holds the images of the directory around it.
type UpdateOptions struct {
	Paths       []string // images, and directories that are walked; nil: the directory around the index
	Exclude     []string // names of directories to leave out, besides hidden ones and [Excluded]
	KeepMissing bool     // keep images whose files are gone
	NoOrient    bool     // of a new index: take images as they lie in the file, not upright by their EXIF orientation
	Frames      int      // of each video, spread over it, by the machine's ffmpeg; 0 skips new videos
	Storage     string   // of a new index, or with Rebuild or Switch: [Float32] or [Float16]; "" is the index's own, or Float32
	Rebuild     bool     // encode every image again; searches find the former vectors meanwhile, unless the index is damaged
	Switch      bool     // take a model other than the index's: its vectors are made beside the present ones, which are searched until all are there
	Engine      Engine   // whose copy of the vectors is kept up to date; "" is [Exact], which has none
	BatchSize   int      // images that run through the model at once; 0 is 32
	CommitEvery int      // images after which what was indexed is made safe, if two seconds are not over before; 0 is 512

	// Open gives the model where Update gets none, once there is an image to encode. known is the
	// index's model, which it must be; the zero Model leaves the choice, because the index is new.
	Open func(ctx context.Context, known Model) (*clip.Model, error)

	// Watcher is called, in Update's goroutine, for paths that cannot be looked at and of files that are left out; of the number of
	// new and changed images, before the first is encoded; of each of them, with an *clip.ImageError
	// where it cannot be read; and of the paths that a commit has made safe. An error of Committed
	// ends the update.
	Problem   func(err error)
	Skipped   func(s *Skipped)
	Found     func(images int)
	Encoded   func(path string, err error)
	Committed func(removed, added []string) error
}

// commitAfter is how long an image waits at most until it is made safe.
const commitAfter = 2 * time.Second

// Result is what an update has done.
type Result struct {
	Added, Changed, Removed int
	Same                    int // images that were in the index as they are
	Unreadable              int // new or changed files that cannot be read as images
	Problems                int // paths that could not be looked at
	Skipped                 int // files that were left out, of no format that is read here
	New                     int // files that were to be encoded; fewer were if the update was stopped
	EngineChanged           bool
	Switched                bool          // every vector is of another model now, or was computed again
	Took                    time.Duration // from the first change on
}

// Update brings the index dir up to date with the images on the disk, and makes it where there is
// none. m encodes what is new or changed since; nil is opened by o.Open if need be. A nil o means
// the defaults.
//
// When ctx ends, what was encoded is made safe, the error matches ctx's, and the next update resumes
// there. Files that cannot be read as images are counted, and tried again when they change.
// It fails where the index has another model ([ErrModel]), unless o.Switch or o.Rebuild is set, and
// where another process writes it ([ErrLocked]). A switch that was stopped continues where the same
// model is given again; it is complete when every image of the index has a vector of the new model
// ([ErrWaiting]).
func Update(ctx context.Context, dir string, m *clip.Model, o *UpdateOptions) (r Result, err error) {
	u := update{dir: dir, model: m}
	if o != nil {
		u.UpdateOptions = *o
	}
	if err := u.fill(); err != nil {
		return r, err
	}
	known, id, err := u.identify(ctx)
	if err != nil {
		return r, err
	}
	u.orient = id.Orient
	whole := known.EmbedDim > 0
	if u.Rebuild && !whole {
		if err := Destroy(dir); err != nil {
			return r, err
		}
	}
	replace := whole && (u.Rebuild || u.Switch && known.Differs(id) != "")
	if half := u.Storage == Float16; whole && !replace && u.Storage != "" && half != known.Half {
		return r, fmt.Errorf("index: %s does not keep its vectors as %s: only a new index, Rebuild or another model changes that", dir, u.Storage)
	}
	if !replace {
		known = id
	}
	if u.w, err = OpenWriter(dir, known); err != nil {
		return r, err
	}
	defer func() { r, err = u.Result, errors.Join(err, u.w.Close()) }()
	if replace {
		return r, u.replace(ctx, id)
	}
	return r, u.run(ctx, id)
}

// update is one call of Update.
type update struct {
	UpdateOptions
	Result
	dir            string
	model          *clip.Model
	w              *Writer
	orient         bool     // of the vectors that are made
	removed, added []string // that the next commit makes safe
	committed      time.Time
}

// fill checks the options and puts the defaults in their places.
func (u *update) fill() error {
	if u.Paths == nil {
		root := rootOf(u.dir)
		if root == "" {
			return fmt.Errorf("index: the index %s has no directory around it: Paths must say what it holds", u.dir)
		}
		u.Paths = []string{root}
	}
	if u.BatchSize < 0 || u.CommitEvery < 0 {
		return fmt.Errorf("index: BatchSize %d, CommitEvery %d: they must be at least 1, or 0 for the defaults", u.BatchSize, u.CommitEvery)
	}
	if u.Frames < 0 {
		return fmt.Errorf("index: Frames %d: it must be at least 1, or 0 for none", u.Frames)
	}
	u.Exclude = slices.Concat(u.Exclude, Excluded)
	u.Engine, u.BatchSize, u.CommitEvery = cmp.Or(u.Engine, Exact), cmp.Or(u.BatchSize, 32), cmp.Or(u.CommitEvery, 512)
	if u.Problem == nil {
		u.Problem = func(error) {}
	}
	if u.UpdateOptions.Skipped == nil {
		u.UpdateOptions.Skipped = func(*Skipped) {}
	}
	if u.Found == nil {
		u.Found = func(int) {}
	}
	if u.Encoded == nil {
		u.Encoded = func(string, error) {}
	}
	if u.Committed == nil {
		u.Committed = func(_, _ []string) error { return nil }
	}
	return errors.Join(checkStorage(u.Storage), u.Engine.Check())
}

// identify is the model that the index has, if it can be read, and the one that it is to have. A
// new index needs that opened.
func (u *update) identify(ctx context.Context) (known, id Model, err error) {
	known, err = modelOf(ctx, u.dir)
	if u.model == nil {
		switch missing := errors.Is(err, fs.ErrNotExist); {
		case err == nil && !u.Rebuild:
			return known, known, u.asMade(known)
		case err != nil && !missing && !u.Rebuild:
			return known, id, err
		}
		if err := u.open(ctx, known); err != nil {
			return known, id, err
		}
	}
	if id, err = Identify(u.model, known.Files); err != nil {
		return known, id, err
	}
	id.Orient = !u.NoOrient
	id.Half = u.Storage == Float16 || u.Storage == "" && known.Half
	if known.Weights != "" && !u.Rebuild {
		id.Orient, err = known.Orient, u.asMade(known)
	}
	return known, id, err
}

// asMade refuses to take images otherwise than those that an index holds.
func (u *update) asMade(known Model) error {
	if u.NoOrient && known.Orient {
		return fmt.Errorf("index: the images of %s are upright by their EXIF orientation: NoOrient is for a new index, or with Rebuild", u.dir)
	}
	return nil
}

func (u *update) open(ctx context.Context, known Model) (err error) {
	if u.Open == nil {
		return errors.New("index: there are images to encode, and neither a model nor UpdateOptions.Open was given")
	}
	u.model, err = u.Open(ctx, known)
	return err
}

func (u *update) run(ctx context.Context, id Model) error {
	changes, err := u.w.compare(ctx, u.Paths, u.Exclude, u.Frames)
	if err != nil {
		return err
	}
	u.tell(changes)
	u.Same = changes.Same
	began := time.Now()
	defer func() { u.Took = time.Since(began) }()
	if err := u.remove(changes.Gone); err != nil {
		return err
	}
	for _, f := range changes.Undated {
		f.Taken = Taken(f.Path)
		err := u.w.Date(f)
		if err == nil && u.w.Pending() >= u.CommitEvery {
			err = u.commit()
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	u.Found(len(changes.New))
	if len(changes.New) > 0 {
		if err := u.needModel(ctx, id); err != nil {
			return err
		}
		u.New = len(changes.New)
		err = u.encode(ctx, changes.New)
		u.Changed = min(changes.Changed, u.Added)
		u.Added -= u.Changed
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	if err := errors.Join(u.commit(), err); err != nil {
		return err
	}
	return u.finish(ctx)
}

// tell passes on what a walk could not look at, and what it left out.
func (u *update) tell(c Changes) {
	for _, problem := range c.Problems {
		u.Problem(problem)
	}
	for _, skipped := range c.Skipped {
		u.UpdateOptions.Skipped(skipped)
	}
	u.Problems, u.Result.Skipped = len(c.Problems), len(c.Skipped)
}

// finish leaves dead rows behind where they are many, and adds to the engine's copy.
func (u *update) finish(ctx context.Context) (err error) {
	if err := u.w.Compact(ctx, false); err != nil {
		return err
	}
	u.EngineChanged, err = u.w.UpdateEngine(ctx, u.Engine)
	return err
}

// remove takes out of the index what is gone, with the next commit.
func (u *update) remove(gone []string) error {
	if u.KeepMissing {
		return nil
	}
	for _, path := range gone {
		if err := u.w.Remove(path); err != nil {
			return err
		}
	}
	u.removed, u.Removed = gone, len(gone)
	return nil
}

// replace makes the vectors of the model id beside those of the index, of all that it holds and of
// what is new, and then switches over.
func (u *update) replace(ctx context.Context, id Model) error {
	former, err := u.w.compare(ctx, u.Paths, u.Exclude, u.Frames)
	if err != nil {
		return err
	}
	u.tell(former)
	began := time.Now()
	defer func() { u.Took = time.Since(began) }()
	if err := u.remove(former.Gone); err != nil {
		return err
	}
	if err := u.commit(); err != nil {
		return err
	}
	if err := u.w.BeginSwitch(id, u.Rebuild); err != nil {
		return err
	}
	paths := slices.Clone(u.Paths)
	if !u.Rebuild {
		elsewhere, err := u.w.outside(ctx, u.Paths)
		if err != nil {
			return err
		}
		paths = append(paths, elsewhere...)
	}
	changes, err := u.w.compare(ctx, paths, u.Exclude, u.Frames)
	if err != nil {
		return err
	}
	for _, path := range changes.Gone {
		if err := u.w.Remove(path); err != nil {
			return err
		}
	}
	u.Same, u.New = changes.Same, len(changes.New)
	u.Found(u.New)
	if err = u.needModel(ctx, id); err == nil {
		err = u.encode(ctx, changes.New)
	}
	if err := errors.Join(u.commit(), err); err != nil {
		return err
	}
	if err := u.w.Switch(ctx, u.Rebuild); err != nil {
		return err
	}
	u.Switched = true
	return u.finish(ctx)
}

// needModel opens the index's model where Update got none.
func (u *update) needModel(ctx context.Context, id Model) error {
	if u.model != nil {
		return nil
	}
	if err := u.open(ctx, id); err != nil {
		return err
	}
	opened, err := Identify(u.model, id.Files)
	if err != nil {
		return err
	}
	return id.Same(opened)
}

// encode adds files to the index and commits from time to time.
func (u *update) encode(ctx context.Context, files []File) error {
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = f.Path
	}
	u.committed = time.Now()
	i := 0
	for row, err := range (clip.Encoder{Model: u.model, BatchSize: u.BatchSize, Orient: u.orient}).Images(ctx, clip.FromFiles(paths...)) {
		if err != nil && !errors.As(err, new(*clip.ImageError)) {
			return err
		}
		f := files[i]
		i++
		u.Encoded(f.Path, err)
		if err != nil {
			u.Unreadable++
			err = u.unreadable(f, err)
		} else {
			f.Taken = Taken(f.Path)
			err = u.w.Add(f, row)
			u.Added++
			u.added = append(u.added, f.Path)
		}
		if err == nil && (u.w.Pending() >= u.CommitEvery || time.Since(u.committed) > commitAfter) {
			err = u.commit()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unreadable remembers a file that is not an image, until it changes. What the system refuses, and
// what a library would read, is tried again.
func (u *update) unreadable(f File, reason error) error {
	if errors.As(reason, new(*preprocess.Error)) && !errors.Is(reason, preprocess.ErrNoLibrary) {
		return u.w.Unreadable(f, reason)
	}
	return nil
}

// commit makes safe what waits, and tells of it.
func (u *update) commit() error {
	if err := u.w.Commit(); err != nil {
		return err
	}
	u.committed = time.Now()
	removed, added := u.removed, u.added
	u.removed, u.added = nil, nil
	if len(removed)+len(added) == 0 {
		return nil
	}
	return u.Committed(removed, added)
}

// modelOf is the model of the index dir.
func modelOf(ctx context.Context, dir string) (Model, error) {
	ix, err := Open(dir)
	if err != nil {
		return Model{}, err
	}
	info, err := ix.Info(ctx)
	return info.Model, errors.Join(err, ix.Close())
}
