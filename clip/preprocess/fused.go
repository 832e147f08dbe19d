package preprocess

import (
	"math"
	"sync"
)

// maxQuads is how many quads of taps the fused passes take: windows of up to 13 source positions wherever they begin.
const maxQuads = 4

// maxLaid bounds the positions of an axis whose weights are laid out in quads, and with them the memory of the cache.
const maxLaid = 1024

// quads are the weights of an axis as goclip_resample_normalise takes them: four taps in a word, as the signed bytes h,
// m and l of 65536 h + 256 m + l. They are made at first use.
type quads struct {
	once  sync.Once
	most  int     // quads of one output position; 0: these weights do not fit
	table []int8  // h, m and l of each quad; of the horizontal axis, for each of 16 bytes, after the bytes' places
	at    []int32 // horizontal: where each group's bytes are looked up; vertical: first quad and count of each row
}

// digits splits a weight into signed bytes.
func digits(k int32) (h, m, l int8, ok bool) {
	l = int8(k)
	k = (k - int32(l)) >> 8
	m = int8(k)
	k = (k - int32(m)) >> 8
	return int8(k), m, l, k == int32(int8(k))
}

// narrow reports whether there are few positions, and no sum of pixels by their weights leaves 32 bits.
func (w *weights) narrow() bool {
	if len(w.first) > maxLaid {
		return false
	}
	for i, n := range w.n {
		sum := int64(0)
		for _, k := range w.fixed[i*w.stride:][:n] {
			sum += max(int64(k), -int64(k))
		}
		if 255*sum+half > math.MaxInt32 {
			return false
		}
	}
	return true
}

// acrossQuads are the weights of RGB rows from column first[0] on. Each row has 64 bytes at least.
func (w *weights) acrossQuads() *quads {
	w.across.once.Do(func() { w.across.layAcross(w) })
	return &w.across
}

func (q *quads) layAcross(w *weights) {
	length := 3 * (w.last() - int(w.first[0]))
	most := (w.widest() + 3) / 4
	if length < 64 || most > maxQuads || !w.narrow() {
		return
	}
	groups := (len(w.first) + 15) / 16 * 3
	table, at := make([]int8, groups*most*4*64), make([]int32, groups*most)
	for i := range at {
		if !w.layGroup(table[i*4*64:][:4*64], &at[i], i/most, 4*(i%most), length) {
			return
		}
	}
	q.most, q.table, q.at = most, table, at
}

// layGroup writes the places, h, m and l of the taps t to t+3 of 16 bytes of the result. It gives false where 64 bytes
// of a row do not hold them all.
func (w *weights) layGroup(table []int8, at *int32, group, t, length int) bool {
	from, to := length, 0
	for lane := range 16 {
		px, c := (16*group+lane)/3, (16*group+lane)%3
		if px >= len(w.first) || t >= int(w.n[px]) {
			continue
		}
		start := 3*(int(w.first[px]-w.first[0])+t) + c
		from, to = min(from, start), max(to, start+3*min(3, int(w.n[px])-1-t))
	}
	from = min(from, length-64)
	if to-from > 63 {
		return false
	}
	*at = int32(from)
	for lane := range 16 {
		px, c := (16*group+lane)/3, (16*group+lane)%3
		if px >= len(w.first) {
			continue
		}
		k := w.fixed[px*w.stride:][:w.n[px]]
		for i := 4 * lane; i < 4*lane+4 && t+i%4 < len(k); i++ {
			tap := t + i%4
			table[i] = int8(3*(int(w.first[px]-w.first[0])+tap) + c - from)
			var ok bool
			if table[64+i], table[128+i], table[192+i], ok = digits(k[tap]); !ok {
				return false
			}
		}
	}
	return true
}

// downQuads are the weights of rows from row first[0] on, in quads that begin at every fourth row.
func (w *weights) downQuads() *quads {
	w.down.once.Do(func() { w.down.layDown(w) })
	return &w.down
}

func (q *quads) layDown(w *weights) {
	most := 0
	at := make([]int32, 2*len(w.first))
	for i, n := range w.n {
		from := int(w.first[i] - w.first[0])
		count := (from+int(n)-1)/4 - from/4 + 1
		at[2*i], at[2*i+1] = int32(from/4), int32(count)
		most = max(most, count)
	}
	if most > maxQuads || !w.narrow() {
		return
	}
	table := make([]int8, len(w.first)*most*3*4)
	for i, n := range w.n {
		row := table[i*most*3*4:]
		for t, k := range w.fixed[i*w.stride:][:n] {
			tap := int(w.first[i]-w.first[0])%4 + t
			p := row[tap/4*3*4+tap%4:]
			var ok bool
			if p[0], p[4], p[8], ok = digits(k); !ok {
				return
			}
		}
	}
	q.most, q.table, q.at = most, table, at
}

// normalised resizes RGB, normalises and writes dst in one go, and reports whether it did: it leaves to resize what the
// machine or the sizes do not allow. norm is what vectorNorm gave.
func (s *scaler) normalised(b *scratch, dst, norm []float32, m *Image, p placement) bool {
	x, y := p.x, p.y
	if unit < unitVNNI || norm == nil || m.Mode != ModeRGB || x.in == x.out || y.in == y.out || downFirst(x, y) {
		return false
	}
	wx, left, right := s.weightsOf(x, p.filter, false)
	wy, top, bottom := s.weightsOf(y, p.filter, false)
	across, down := wx.acrossQuads(), wy.downQuads()
	if across.most == 0 || down.most == 0 {
		return false
	}
	src := rows{pix: m.Pix[3*((y.at+top)*m.Width+x.at+left):], stride: 3 * m.Width, length: 3 * (right - left),
		count: bottom - top}
	resampleNormalised(b, dst, norm, p, src, across, down)
	return true
}

// vectorNorm gives the numbers of a normalisation on the vector unit: 1/255, the means, and 1/std of each channel, the
// inverses in a high and a low part. It is nil where that would not give every value of table to the bit.
func vectorNorm(mean, std [3]float32, table *normTable) []float32 {
	if unit < unitVNNI {
		return nil
	}
	inverse := func(v float32) []float32 {
		high := float32(1 / float64(v))
		return []float32{high, float32(1/float64(v) - float64(high))}
	}
	norm := append(inverse(255), mean[:]...)
	for _, v := range std {
		norm = append(norm, inverse(v)...)
	}
	if !normExact(norm, table) {
		return nil
	}
	return norm
}
