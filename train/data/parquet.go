package data

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"github.com/goclip/goclip/clip/preprocess"
)

// parquetRows are the rows of a Parquet file that holds its images: as bytes, or as Hugging
// Face's data sets have them, a group of bytes and path. An image's bytes lie in compressed pages
// with many others, so they are unpacked.
type parquetRows struct {
	name     string
	pictures shard
	rows     []int // of the file, of each sample
	at, size []int64
	captions [][]string
	leftOut  int
}

// checkFooter refuses a footer that claims more bytes than the file has, up to 4 GiB, which the
// library would take from memory before it reads them.
func checkFooter(f io.ReaderAt, size int64) error {
	var end [8]byte
	if size < int64(len(end)) {
		return fmt.Errorf("it has %d bytes", size)
	}
	if _, err := f.ReadAt(end[:], size-int64(len(end))); err != nil {
		return err
	}
	if n := int64(binary.LittleEndian.Uint32(end[:])); n > size-int64(len(end)) {
		return fmt.Errorf("its footer claims %d bytes of the file's %d", n, size)
	}
	return nil
}

// openParquet reads columns of captions, texts or lists of texts, and of images: paths (a column
// of texts), or bytes.
func openParquet(ctx context.Context, name string, o Options) (set Index, err error) {
	f, size, err := preprocess.OpenRegular(name)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	defer func() { // the library panics on some damaged files
		if fault := recover(); fault != nil {
			set, err = nil, fmt.Errorf("it is damaged: %v", fault)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "data: ") {
			err = within("data: "+name, err)
		}
	}()
	if err := checkFooter(f, size); err != nil {
		return nil, fmt.Errorf("it is not a Parquet file: %w", err)
	}
	p, err := parquet.OpenFile(f, size, parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
	if err != nil {
		return nil, fmt.Errorf("it is not a Parquet file: %w", err)
	}
	c := &columnReader{p, newScales(ctx, f, size, p)}
	captions, err := c.captions(o)
	if err != nil {
		return nil, err
	}
	image, err := columns(p, "ImageKey", o.ImageKey, imageKeys)
	if err != nil {
		return nil, err
	}
	var bytesOf, pathOf *parquet.LeafColumn
	for _, leaf := range image {
		switch last := leaf.Path[len(leaf.Path)-1]; {
		case !isBytes(leaf) || leaf.MaxRepetitionLevel > 0:
		case len(leaf.Path) == 1 && isText(leaf), len(leaf.Path) == 2 && last == "path":
			pathOf = &leaf
		case len(leaf.Path) == 1, len(leaf.Path) == 2 && last == "bytes":
			bytesOf = &leaf
		}
	}
	switch {
	case bytesOf != nil:
		return c.unpack(f, *bytesOf, captions, o)
	case pathOf != nil:
		t := newTable(name, o)
		err := c.texts(*pathOf, func(row int, path string, _ bool) error {
			texts, ok := captions.of(row)
			if !ok {
				return errors.New("it is damaged: there are more images than captions")
			}
			t.add(path, texts...)
			return nil
		})
		if err == nil && len(t.images) == 0 {
			err = errors.New("no row has " + o.sample())
		}
		t.at = nil
		return t, err
	}
	return nil, fmt.Errorf("the column %q is of %s; it must have an image's path or bytes in each row", image[0].Path[0], image[0].Node)
}

// rowCaptions are the captions of each row of a Parquet file, grown by what is there, not by what
// the file declares.
type rowCaptions struct {
	rows [][]string
	none bool // there is no such column, and none is needed
}

// of is false for a row that has no place in the column.
func (c *rowCaptions) of(row int) ([]string, bool) {
	if c.none {
		return nil, true
	}
	if row >= len(c.rows) {
		return nil, false
	}
	return c.rows[row], true
}

func (r *columnReader) captions(o Options) (c rowCaptions, err error) {
	caption, err := columns(r.p, "CaptionKey", o.CaptionKey, captionKeys)
	if err != nil {
		c.none = o.mayLackCaptions()
		if c.none {
			err = nil
		}
		return c, err
	}
	if len(caption) != 1 || !isBytes(caption[0]) {
		return c, fmt.Errorf("the column %q is of %s; it must be a text or a list of texts", caption[0].Path[0], caption[0].Node)
	}
	err = r.texts(caption[0], func(row int, text string, null bool) error {
		if row == len(c.rows) {
			c.rows = append(c.rows, nil)
		}
		if !utf8.ValidString(text) {
			return fmt.Errorf("row %d: the caption is not UTF-8", row)
		}
		if !null {
			c.rows[row] = append(c.rows[row], text)
		}
		return nil
	})
	return c, err
}

// unpack writes each row's bytes to the cache, as a tar whose members are the rows.
func (c *columnReader) unpack(f *os.File, leaf parquet.LeafColumn, captions rowCaptions, o Options) (set Index, err error) {
	unpacking := cache{dir: o.Cache}
	column := strings.Join(leaf.Path, ".")
	pictures, err := unpacking.unpack(c.scales.ctx, f, "parquet "+column, func(out io.Writer) error {
		w := tar.NewWriter(out)
		err := c.read(leaf, func(row int, v parquet.Value, _ parquet.Dictionary) error {
			b := v.ByteArray() // none where it is null
			if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%09d", row), Mode: 0o644, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
				return err
			}
			_, err := w.Write(b)
			return err
		})
		return errors.Join(err, w.Close())
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if set == nil {
			pictures.Close()
		}
	}()
	info, err := pictures.Stat()
	if err != nil {
		return nil, err
	}
	r := &parquetRows{name: f.Name(), pictures: shard{f.Name(), pictures.Name(), pictures}}
	row := 0
	err = walkTar(c.scales.ctx, pictures, info.Size(), func(h *tar.Header, at int64, _ io.Reader) error {
		texts, ok := captions.of(row)
		if !ok {
			return errors.New("there are more images than rows")
		}
		switch {
		case h.Size == 0 || len(texts) == 0 && !o.Uncaptioned:
			r.leftOut++
		case o.CaptionEach && len(texts) > 0:
			for _, c := range texts {
				r.add(row, at, h.Size, []string{c})
			}
		default:
			r.add(row, at, h.Size, texts)
		}
		row++
		return nil
	})
	if err == nil && len(r.rows) == 0 {
		err = fmt.Errorf("no row has %s, with %q", o.sample(), column)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *parquetRows) add(row int, at, size int64, captions []string) {
	r.rows, r.at, r.size, r.captions = append(r.rows, row), append(r.at, at), append(r.size, size), append(r.captions, captions)
}

// columns are the leaves under the first of the columns that are tried for key.
func columns(p *parquet.File, option, key string, known []string) (leaves []parquet.LeafColumn, err error) {
	var names []string
	for _, f := range p.Root().Columns() {
		names = append(names, f.Name())
	}
	for _, key := range candidates(key, known) {
		if !slices.Contains(names, key) {
			continue
		}
		for _, path := range p.Schema().Columns() {
			if leaf, ok := p.Schema().Lookup(path...); ok && path[0] == key {
				leaf.Path = path
				leaves = append(leaves, leaf)
			}
		}
		if len(leaves) > 0 {
			return leaves, nil
		}
	}
	return nil, &OptionError{option, fmt.Errorf("it has no column %q, only %q", key, names), "%s names another"}
}

func isBytes(leaf parquet.LeafColumn) bool { return leaf.Node.Type().Kind() == parquet.ByteArray }

func isText(leaf parquet.LeafColumn) bool {
	if logical := leaf.Node.Type().LogicalType(); logical != nil {
		if _, ok := logical.Value.(*format.StringType); ok {
			return true
		}
	}
	converted := leaf.Node.Type().ConvertedType()
	return converted != nil && *converted == deprecated.UTF8
}

// columnReader reads the columns of a file, each after it was weighed.
type columnReader struct {
	p      *parquet.File
	scales *scales
}

// read calls visit for each value, of a list each item, with its row. A value's memory is used
// again after visit, but for one of a dictionary, which stays as it is while the dictionary is in
// use.
func (c *columnReader) read(leaf parquet.LeafColumn, visit func(row int, v parquet.Value, of parquet.Dictionary) error) error {
	if err := c.scales.weigh(leaf); err != nil {
		return err
	}
	row, values := -1, make([]parquet.Value, 64)
	read := func(page parquet.Page) error {
		defer parquet.Release(page)
		in := page.Values()
		for {
			if err := c.scales.ctx.Err(); err != nil {
				return err
			}
			n, err := in.ReadValues(values)
			for _, v := range values[:n] {
				if v.RepetitionLevel() == 0 {
					row++
				}
				if row < 0 || int64(row) >= c.p.NumRows() {
					return fmt.Errorf("it is damaged: the column %q has other rows than the %d of the file", strings.Join(leaf.Path, "."), c.p.NumRows())
				}
				if err := visit(row, v, page.Dictionary()); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	for _, group := range c.p.RowGroups() {
		pages := group.ColumnChunks()[leaf.ColumnIndex].Pages()
		defer pages.Close()
		for {
			page, err := pages.ReadPage()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				err = read(page)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// texts is read for texts, of which those of a dictionary share their memory. A longer one than
// maxCaption is cut.
func (c *columnReader) texts(leaf parquet.LeafColumn, visit func(row int, text string, null bool) error) error {
	type place struct {
		first  *byte
		length int
	}
	known := map[place]string{} // of one dictionary
	var last parquet.Dictionary
	return c.read(leaf, func(row int, v parquet.Value, of parquet.Dictionary) error {
		b := v.ByteArray()
		if of == nil {
			return visit(row, string(whole(b)), v.IsNull())
		}
		if of != last {
			clear(known)
			last = of
		}
		at := place{unsafe.SliceData(b), len(b)}
		text, ok := known[at]
		if !ok {
			text = string(whole(b))
			known[at] = text
		}
		return visit(row, text, v.IsNull())
	})
}

func (r *parquetRows) Len() int { return len(r.rows) }

func (r *parquetRows) LeftOut() int { return r.leftOut }

func (r *parquetRows) Key(i int) string { return fmt.Sprintf("%s:row %d", r.name, r.rows[i]) }

func (r *parquetRows) Captions(i int) []string { return r.captions[i] }

func (r *parquetRows) Sample(_ context.Context, i int) (Sample, error) {
	key := r.Key(i)
	image := preprocess.FromFunc("", func(ctx context.Context) ([]byte, error) {
		b, err := r.pictures.read(ctx, r.at[i], r.size[i])
		if err != nil {
			return nil, fmt.Errorf("data: %s: %w", key, err)
		}
		return b, nil
	})
	return Sample{Image: image, Texts: r.captions[i], ID: key}, nil
}
