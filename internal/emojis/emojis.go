// Package emojis reads the shards of emoji in data/ for evaluations.
package emojis

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Emoji is an image and its caption.
type Emoji struct {
	Style, Points string // of its key STYLE_POINTS: openmoji, 1f40d-fe0f
	Caption       string
	PNG           []byte
}

// Key is what the data's tables call the emoji.
func (e Emoji) Key() string { return e.Style + "_" + e.Points }

// HeldOut are the 1,914 emoji of the held-out vendor, whose captions are their names; data is the
// repository's directory of that name.
func HeldOut(data string) ([]Emoji, error) {
	return Read(path.Join(data, "openmoji-eval-00000.tar"), path.Join(data, "openmoji-eval-00001.tar"))
}

// Read reads shards in which KEY.txt follows KEY.png.
func Read(shards ...string) (list []Emoji, err error) {
	for _, shard := range shards {
		if list, err = read(list, shard); err != nil {
			return nil, fmt.Errorf("%s: %w", shard, err)
		}
	}
	return list, nil
}

func read(list []Emoji, shard string) ([]Emoji, error) {
	f, err := os.Open(shard)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		switch key := strings.TrimSuffix(h.Name, path.Ext(h.Name)); path.Ext(h.Name) {
		case ".png":
			style, points, _ := strings.Cut(key, "_")
			list = append(list, Emoji{Style: style, Points: points, PNG: data})
		case ".txt":
			if len(list) == 0 || list[len(list)-1].Key() != key {
				return nil, fmt.Errorf("%s does not follow its image", h.Name)
			}
			list[len(list)-1].Caption = strings.TrimSpace(string(data))
		}
	}
}
