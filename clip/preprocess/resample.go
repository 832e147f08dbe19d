package preprocess

// half is 0.5 in fixed point: added once, so that the final shift rounds.
const half = 1 << (precision - 1)

// clip8 is Pillow's: the integer part, held between 0 and 255.
func clip8(v int32) uint8 { return uint8(max(min(v>>precision, 255), 0)) }

// packRows puts two rows into the low and high halves of 64-bit words, so that one multiplication serves both.
func packRows(dst []uint64, a, b []uint8) {
	b = b[:len(a)]
	dst = dst[:len(a)]
	for i, v := range a {
		dst[i] = uint64(v) | uint64(b[i])<<32
	}
}

// split takes the two signed sums out of one word. The low sum borrowed from the high one where it is negative.
func split(s uint64) (lo, hi uint8) {
	l := int32(uint32(s))
	return clip8(l), clip8(int32((s - uint64(int64(l))) >> 32))
}

// bothHalves is half in both sums.
const bothHalves = half | half<<32

// horizontal resamples two packed rows of n channels to dst0 and dst1. src starts at source column base.
func horizontal(dst0, dst1 []uint8, src []uint64, w *weights, base, n int) {
	switch n {
	case 1:
		horizontal1(dst0, dst1, src, w, base)
	case 3:
		horizontal3(dst0, dst1, src, w, base)
	default:
		horizontalN(dst0, dst1, src, w, base, n)
	}
}

func horizontal1(dst0, dst1 []uint8, src []uint64, w *weights, base int) {
	for i, first := range w.first {
		k := w.fixed[i*w.stride:][:w.n[i]]
		p := src[int(first)-base:][:len(k)]
		s := uint64(bothHalves)
		for j, v := range k {
			s += p[j] * uint64(int64(v))
		}
		dst0[i], dst1[i] = split(s)
	}
}

func horizontal3(dst0, dst1 []uint8, src []uint64, w *weights, base int) {
	for i, first := range w.first {
		k := w.fixed[i*w.stride:][:w.n[i]]
		p := src[3*(int(first)-base):][:3*len(k)]
		var r, g, b uint64 = bothHalves, bothHalves, bothHalves
		for len(k) >= 2 && len(p) >= 6 {
			m0, m1 := uint64(int64(k[0])), uint64(int64(k[1]))
			r += p[0]*m0 + p[3]*m1
			g += p[1]*m0 + p[4]*m1
			b += p[2]*m0 + p[5]*m1
			k, p = k[2:], p[6:]
		}
		if len(k) == 1 && len(p) >= 3 {
			m := uint64(int64(k[0]))
			r += p[0] * m
			g += p[1] * m
			b += p[2] * m
		}
		d0, d1 := dst0[3*i:3*i+3:3*i+3], dst1[3*i:3*i+3:3*i+3]
		d0[0], d1[0] = split(r)
		d0[1], d1[1] = split(g)
		d0[2], d1[2] = split(b)
	}
}

func horizontalN(dst0, dst1 []uint8, src []uint64, w *weights, base, n int) {
	for i, first := range w.first {
		k := w.fixed[i*w.stride:][:w.n[i]]
		for c := range n {
			at := (int(first)-base)*n + c
			s := uint64(bothHalves)
			for _, v := range k {
				s += src[at] * uint64(int64(v))
				at += n
			}
			dst0[i*n+c], dst1[i*n+c] = split(s)
		}
	}
}

// vertical resamples one output row: rows of src, stride bytes apart, weighted by k. sums is scratch.
func vertical(dst, src []uint8, stride int, k []int32, sums []int32) {
	sums = sums[:len(dst)]
	for i := range sums {
		sums[i] = half
	}
	for len(k) >= 4 {
		r0 := src[:len(sums)]
		r1 := src[stride:][:len(sums)]
		r2 := src[2*stride:][:len(sums)]
		r3 := src[3*stride:][:len(sums)]
		k0, k1, k2, k3 := k[0], k[1], k[2], k[3]
		for i := range sums {
			sums[i] += int32(r0[i])*k0 + int32(r1[i])*k1 + int32(r2[i])*k2 + int32(r3[i])*k3
		}
		if k = k[4:]; len(k) > 0 {
			src = src[4*stride:]
		}
	}
	for len(k) > 0 {
		r0, k0 := src[:len(sums)], k[0]
		for i := range sums {
			sums[i] += int32(r0[i]) * k0
		}
		if k = k[1:]; len(k) > 0 {
			src = src[stride:]
		}
	}
	for i, s := range sums {
		dst[i] = clip8(s)
	}
}
