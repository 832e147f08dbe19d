package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/index"
)

// editable is a shelf whose images may be added and removed.
type editable struct{ *shelf }

// imageNames are the extensions that infer index reads.
var imageNames = []string{".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}

// inside checks a client's path: of a file that infer index would find.
func (s editable) inside(name string) error {
	if !filepath.IsLocal(name) || name != path.Clean(name) || !slices.Contains(imageNames, strings.ToLower(path.Ext(name))) {
		return fs.ErrInvalid
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") || slices.Contains(index.Excluded, part) {
			return fs.ErrInvalid
		}
	}
	return nil
}

// editWait is how long a change over HTTP waits for another of the same index, such as the indexing of a
// folder that is watched.
const editWait = 10 * time.Second

// edit is write for a request, which should not wait for all images of a folder.
func (s editable) edit(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, editWait, index.ErrLocked)
	defer cancel()
	return locked(s.moved(ctx, s.write(ctx, f)))
}

// Put writes a file beside its name, renames it, and indexes it, even if the client leaves meanwhile. One that
// cannot be read takes the place of no other.
func (s editable) Put(ctx context.Context, m *clip.Model, name string, data []byte) error {
	if err := s.inside(name); err != nil {
		return err
	}
	if _, err := preprocess.Decode(ctx, data, preprocess.DefaultLimits); err != nil {
		return err
	}
	return s.edit(ctx, func() error { return s.put(ctx, m, name, data) })
}

func (s editable) put(ctx context.Context, m *clip.Model, name string, data []byte) error {
	root, err := os.OpenRoot(s.root) // no link leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return escaped(err)
	}
	temporary := path.Join(path.Dir(name), ".goclip-"+rand.Text())
	if err = root.WriteFile(temporary, data, 0o666); err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		_ = root.Remove(temporary) // it may not be there
		return escaped(err)
	}
	failed := error(nil)
	_, err = index.Update(context.WithoutCancel(ctx), s.dir, m, &index.UpdateOptions{Paths: []string{filepath.Join(s.root, name)}, Engine: s.engine,
		Encoded: func(_ string, err error) { failed = errors.Join(failed, err) }})
	s.counted.Store(0)
	return errors.Join(err, failed)
}

// Delete removes a file and takes it out of the index.
func (s editable) Delete(ctx context.Context, m *clip.Model, name string) error {
	if err := s.inside(name); err != nil {
		return err
	}
	return s.edit(ctx, func() error { return s.remove(ctx, m, name) })
}

func (s editable) remove(ctx context.Context, m *clip.Model, name string) error {
	root, err := os.OpenRoot(s.root)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	id, err := index.Identify(m, info.Model.Files)
	if err != nil {
		return err
	}
	w, err := index.OpenWriter(s.dir, id)
	if err != nil {
		return err
	}
	if err = root.Remove(name); err == nil {
		if err = w.Remove(filepath.Join(s.root, name)); err == nil {
			err = w.Commit()
		}
	}
	s.counted.Store(0)
	return errors.Join(err, w.Close())
}

// escaped is fs.ErrInvalid for a path that a link leads out of the directory; os.Root has no error of
// a name for it.
func escaped(err error) error {
	if strings.HasSuffix(err.Error(), "path escapes from parent") {
		return fs.ErrInvalid
	}
	return err
}

// locked is fs.ErrExist for a change that may be asked for again.
func locked(err error) error {
	if errors.Is(err, index.ErrLocked) || errors.Is(err, index.ErrSwitched) {
		return fmt.Errorf("%w: %w", fs.ErrExist, err)
	}
	return err
}
