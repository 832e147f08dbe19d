package data

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
)

// members says which members of a shard make a sample.
type members struct {
	images, texts []string // extensions, the one to prefer first
	jsonKey       string
	lines, each   bool
	bare          bool // without a caption it is a sample, too
	encoding      string
}

func membersOf(o Options) *members {
	list := func(keys string, other []string) []string {
		if keys == "" {
			return other
		}
		return strings.Split(strings.ToLower(keys), ";")
	}
	return &members{list(o.TarImageKeys, imageExtensions), list(o.TarTextKeys, nil), o.JSONTextKey, o.CaptionLines, o.CaptionEach, o.Uncaptioned, o.Encoding}
}

// found is what an index of a shard has.
type found struct {
	samples []tarSample
	leftOut int
	foreign error          // of the first caption that is not of the encoding
	endings map[string]int // how many members have which
}

// index finds the samples of a tar of size bytes, as webdataset does (webdataset/tariterators.py,
// group_by_keys): the members of a sample stand together and share the name up to the first dot,
// and what follows is the extension; one that comes a second time begins another sample. Members
// that begin with a dot, or are neither image nor caption, are passed over, where webdataset lets
// those of another name end a sample. A sample without an image or a caption is left out.
func (m *members) index(ctx context.Context, r io.ReaderAt, size int64) (found, error) {
	g := grouping{members: m, found: found{endings: map[string]int{}}}
	err := walkTar(ctx, r, size, func(h *tar.Header, at int64, content io.Reader) error {
		dir, base := path.Split(h.Name)
		stem, ext, dotted := strings.Cut(base, ".")
		if stem == "" || !dotted {
			return nil
		}
		ext = strings.ToLower(ext)
		g.endings[path.Ext("."+ext)]++
		part, kind := m.kind(ext)
		if kind == other {
			return nil
		}
		key := dir + stem
		if key != g.key || g.seen[ext] {
			g.flush()
			g.key, g.seen, g.parts, g.order = key, map[string]bool{}, map[string]*candidate{}, nil
		}
		g.seen[ext] = true
		return g.take(part, kind, ext, at, h.Size, content)
	})
	g.flush()
	return g.found, err
}

// kindOf a member.
type kindOf int

const (
	other kindOf = iota
	anImage
	aText
	aJSON
)

// kind returns what an extension stands for. One of several parts that is none of these, such
// as "left.jpg", is known by its last part; part is the rest.
func (m *members) kind(ext string) (part string, kind kindOf) {
	if kind = m.exactly(ext); kind != other {
		return "", kind
	}
	if dot := strings.LastIndexByte(ext, '.'); dot >= 0 {
		return ext[:dot], m.exactly(ext[dot+1:])
	}
	return "", other
}

func (m *members) exactly(ext string) kindOf {
	switch {
	case slices.Contains(m.images, ext):
		return anImage
	case m.jsonKey == "" && slices.Contains(m.texts, ext):
		return aText
	case m.jsonKey != "" && ext == "json":
		return aJSON
	}
	return other
}

// grouping puts members into samples.
type grouping struct {
	*members
	found
	key   string
	seen  map[string]bool // extensions of the sample so far
	parts map[string]*candidate
	order []*candidate // parts as they come
}

// candidate is the members of a sample that share what stands between the key and the last
// extension: nothing, or of a.left.jpg and a.left.txt "left".
type candidate struct {
	tarSample
	rank     int // the image's place in members.images
	hasImage bool
}

// take adds a member to the sample.
func (g *grouping) take(part string, kind kindOf, ext string, at, size int64, content io.Reader) error {
	c := g.parts[part]
	if c == nil {
		c = &candidate{}
		if c.key = g.key; part != "" {
			c.key += "." + part
		}
		g.parts[part], g.order = c, append(g.order, c)
	}
	if kind == anImage {
		rank := slices.Index(g.images, strings.TrimPrefix(ext, part+"."))
		if !c.hasImage || rank < c.rank {
			c.hasImage, c.rank, c.at, c.size = true, rank, at, size
		}
		return nil
	}
	if kind == aText && len(c.captions) > 0 {
		return nil
	}
	text, err := readCaption(content, g.encoding)
	var foreign *OptionError
	switch {
	case errors.As(err, &foreign): // without a caption it is left out
		if g.foreign == nil {
			g.foreign = within(g.key+"."+ext, err)
		}
	case err != nil:
		return err
	case kind == aText:
		c.captions = g.captions(text)
	default:
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &object) == nil {
			c.captions, _ = captionsOf(object[g.jsonKey])
		}
	}
	return nil
}

// flush ends a sample. Of one whose plain members lack an image or a caption, each other part that
// has both is a sample: names such as a.0001.jpg have their number there.
func (g *grouping) flush() {
	before := len(g.samples)
	if plain := g.parts[""]; plain != nil && g.whole(plain) {
		g.order = []*candidate{plain}
	}
	for _, c := range g.order {
		if g.whole(c) {
			g.sample(c.tarSample)
		}
	}
	if len(g.order) > 0 && len(g.samples) == before {
		g.leftOut++
	}
	g.order = nil
}

// whole reports whether a candidate has what makes a sample.
func (g *grouping) whole(c *candidate) bool { return c.hasImage && (len(c.captions) > 0 || g.bare) }

func (g *grouping) sample(s tarSample) {
	if !g.each || len(s.captions) == 0 {
		g.samples = append(g.samples, s)
		return
	}
	for _, c := range s.captions {
		one := s
		one.captions = []string{c}
		g.samples = append(g.samples, one)
	}
}

// captions of a text member.
func (m *members) captions(text string) []string {
	if !m.lines {
		return []string{text}
	}
	return captionLines(text)
}

// captionLines are the lines of a text that are not empty.
func captionLines(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}
