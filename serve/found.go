package serve

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"
)

// imageAddress is where a found image is served, relative to the server's root: signed, so that
// no other file is.
func (s *Server) imageAddress(path string) string {
	return "v1/image?" + url.Values{"path": {path}, "sum": {hex.EncodeToString(s.imageSum(path))}}.Encode()
}

func (s *Server) imageSum(path string) []byte {
	m := hmac.New(sha256.New, s.sign[:])
	m.Write([]byte(path))
	return m.Sum(nil)
}

// image answers GET /v1/image with a small image of a file that a search found.
func (s *Server) image(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.Query().Get("path")
	sum, err := hex.DecodeString(r.URL.Query().Get("sum"))
	if err != nil || s.thumbnail == nil || !hmac.Equal(sum, s.imageSum(path)) {
		return refuse(http.StatusNotFound, "not_found", "", "no search of this server found such an image")
	}
	if r.URL.Query().Get("full") != "" && s.original != nil {
		if done, err := s.whole(w, r, path); done || err != nil {
			return err
		}
	}
	data, mediaType, err := s.drawn(r.Context(), path)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Cache-Control", "private, max-age=3600")
	_, _ = w.Write(data) // a client that has gone
	return nil
}

// drawn is a small image, drawn when the turn comes.
func (s *Server) drawn(ctx context.Context, path string) (data []byte, mediaType string, err error) {
	err = s.drawing(ctx, "shown", func() error {
		held := int64(0)
		defer func() { s.decoding.Release(held) }()
		data, mediaType, err = s.thumbnail(ctx, path, func(bytes int64) error {
			if bytes > s.limits.Decoding {
				return fmt.Errorf("a thumbnail takes %d bytes, more than Limits.Decoding, %d", bytes, s.limits.Decoding)
			}
			if err := s.decoding.Acquire(ctx, bytes); err != nil {
				return err
			}
			held += bytes
			return nil
		})
		return err
	})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return data, mediaType, err
}

// drawing runs f, by which an image is shown or opened, in turn. What it reads is sent afterwards: a client
// that takes it slowly keeps no other waiting.
func (s *Server) drawing(ctx context.Context, done string, f func() error) error {
	select {
	case s.thumbnails <- struct{}{}:
		defer func() { <-s.thumbnails }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err := f()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	s.log.Warn("a found image could not be "+done, "error", err)
	return refuse(http.StatusNotFound, "image_gone", "", "the image cannot be read any more")
}

// whole answers with an image's own file, if it is of a format that browsers show.
func (s *Server) whole(w http.ResponseWriter, r *http.Request, path string) (done bool, err error) {
	f, kind, err := s.opened(r.Context(), path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if !slices.Contains([]string{"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"}, kind) {
		return false, nil
	}
	if _, onDisk := f.(*os.File); !onDisk { // it may be in memory
		n, err := f.Seek(0, io.SeekEnd)
		if err == nil {
			err = s.room(r.Context(), n)
		}
		if err != nil {
			return false, err
		}
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "private, max-age=3600")
	http.ServeContent(w, r, "", time.Time{}, f)
	return true, nil
}

// opened is an image's own file, and its media type.
func (s *Server) opened(ctx context.Context, path string) (f io.ReadSeekCloser, kind string, err error) {
	err = s.drawing(ctx, "opened", func() error {
		var err error
		if f, err = s.original(path); err != nil {
			return err
		}
		var head [512]byte
		n, err := io.ReadFull(f, head[:])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.Join(err, f.Close())
		}
		kind = http.DetectContentType(head[:n])
		return nil
	})
	return f, kind, err
}
