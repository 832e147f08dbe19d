package preprocess

import "sync"

// span is one axis of a resize: source positions at .. at+in become out positions, of which from .. from+count are
// kept.
type span struct {
	at, in, out, from, count int
}

// scaler resizes images as Pillow's Image.resize, only as far as the kept window needs.
type scaler struct {
	cache weightsCache
	pool  sync.Pool // *scratch
}

// scratch is the memory of one resize, kept between images.
type scratch struct {
	part   part      // a decoded image
	pre    []uint8   // source rows, premultiplied
	middle []uint8   // rows between the passes
	result []uint8   // rows after both passes
	packed []uint64  // two source rows
	lanes  []uint8   // some source rows, laid out for the vector unit
	sums   []int32   // one row of sums
	row    []uint8   // one row of nearest pixels
	rgb    []uint8   // a row in RGB, or a whole image in training
	whole  []uint8   // the source in RGB
	image  []float32 // the result before it is cut into patches
}

func grow[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	return (*s)[:n]
}

// inRGB is m in RGB, in b's memory. Grey of 8 bits is resized alike in both forms and stays.
func (b *scratch) inRGB(m *Image) *Image {
	if m.Mode == ModeRGB || m.Mode == ModeL {
		return m
	}
	out := &Image{Width: m.Width, Height: m.Height, Mode: ModeRGB, Pix: grow(&b.whole, 3*m.Width*m.Height)}
	rowToRGB(out.Pix, m.Pix, m.Mode, m.Palette)
	return out
}

func (s *scaler) scratch() *scratch {
	if b, ok := s.pool.Get().(*scratch); ok {
		return b
	}
	return new(scratch)
}

// resize calls emit with each row of the window, in the image's own mode. A row is valid until emit returns.
func (s *scaler) resize(b *scratch, m *Image, x, y span, f filter, emit func(y int, row []uint8)) {
	needX, needY := x.in != x.out, y.in != y.out
	switch {
	case !needX && !needY:
		copyRows(m, x, y, emit)
	case m.Mode == ModeP || m.Mode == Mode1:
		nearest(b, m, x, y, emit)
	case m.Mode == ModeI16:
		s.resize16(m, x, y, f, emit)
	default:
		s.resize8(b, m, x, y, f, emit)
	}
}

// copyRows is a crop.
func copyRows(m *Image, x, y span, emit func(y int, row []uint8)) {
	n := m.Mode.Bytes()
	for i := range y.count {
		at := ((y.at+y.from+i)*m.Width + x.at + x.from) * n
		emit(i, m.Pix[at:at+x.count*n])
	}
}

// downFirst reports whether Pillow runs the vertical pass first: since version 13 it does where the height loses more
// than twice what the width loses. Each pass rounds, so the order shows in the last bit.
func downFirst(x, y span) bool {
	return x.in != x.out && y.in > y.out && y.in-y.out > 2*(x.in-x.out)
}

// weightsOf gives the weights of an axis and the source range that its window needs; nil where nothing is resized.
func (s *scaler) weightsOf(a span, f filter, wide bool) (w *weights, from, to int) {
	if a.in == a.out {
		return nil, a.from, a.from + a.count
	}
	w = s.cache.get(weightsKey{in: a.in, out: a.out, from: a.from, count: a.count, filter: f, wide: wide})
	return w, int(w.first[0]), w.last()
}

// resize8 resamples 8-bit channels in two passes, rounding between them.
func (s *scaler) resize8(b *scratch, m *Image, x, y span, f filter, emit func(y int, row []uint8)) {
	wx, left, right := s.weightsOf(x, f, false)
	wy, top, bottom := s.weightsOf(y, f, false)
	n := m.Mode.Bytes()
	src := rows{pix: m.Pix[((y.at+top)*m.Width+x.at+left)*n:], stride: m.Width * n, length: (right - left) * n,
		count: bottom - top}
	alpha := m.Mode == ModeRGBA || m.Mode == ModeLA
	if alpha {
		src = premultiplied(b, src, m.Mode)
	}
	if downFirst(x, y) {
		src = down(b, newRows(&b.middle, src.length, y.count), src, wy, top)
		src = across(b, newRows(&b.result, x.count*n, y.count), src, wx, left, n)
	} else {
		src = across(b, newRows(&b.middle, x.count*n, src.count), src, wx, left, n)
		src = down(b, newRows(&b.result, src.length, y.count), src, wy, top)
	}
	for i := range src.count {
		if alpha {
			unpremultiplyRow(src.row(i), m.Mode)
		}
		emit(i, src.row(i))
	}
}

// rows is a rectangle of bytes.
type rows struct {
	pix                   []uint8
	stride, length, count int
}

// newRows lays count rows of length bytes out in the memory of s.
func newRows(s *[]uint8, length, count int) rows {
	return rows{pix: grow(s, length*count), stride: length, length: length, count: count}
}

func (r rows) row(i int) []uint8 { return r.pix[i*r.stride:][:r.length] }

// premultiplied copies src in the form that is resized.
func premultiplied(b *scratch, src rows, mode Mode) rows {
	out := newRows(&b.pre, src.length, src.count)
	for i := range src.count {
		premultiplyRow(out.row(i), src.row(i), mode)
	}
	return out
}

// across is the horizontal pass from src to dst. Where w is nil it gives src itself.
func across(b *scratch, dst, src rows, w *weights, left, n int) rows {
	switch {
	case w == nil:
		return src
	case unit != 0:
		acrossVectors(b, dst, src, w, left, n)
		return dst
	}
	// Rows go in pairs; an odd last row is paired with itself.
	packed := grow(&b.packed, src.length)
	for i := 0; i < src.count; i += 2 {
		second := min(i+1, src.count-1)
		packRows(packed, src.row(i), src.row(second))
		horizontal(dst.row(i), dst.row(second), packed, w, left, n)
	}
	return dst
}

// down is the vertical pass from src, whose row 0 is source row top, to dst. Where w is nil it gives src itself.
func down(b *scratch, dst, src rows, w *weights, top int) rows {
	switch {
	case w == nil:
		return src
	case unit != 0:
		downVectors(dst, src, w, top)
		return dst
	}
	sums := grow(&b.sums, src.length)
	for i, first := range w.first {
		k := w.fixed[i*w.stride:][:w.n[i]]
		vertical(dst.row(i), src.pix[(int(first)-top)*src.stride:], src.stride, k, sums)
	}
	return dst
}
