package preprocess

// nearest is Pillow's ImagingScaleAffine, which takes palette and 1-bit images. It adds up the step as Pillow does,
// so that the rounding is the same.
func nearest(b *scratch, m *Image, x, y span, emit func(y int, row []uint8)) {
	xs, ys := nearestPositions(x), nearestPositions(y)
	row := grow(&b.row, x.count)
	for i, sy := range ys {
		src := m.Pix[(y.at+sy)*m.Width+x.at:][:x.in]
		for j, sx := range xs {
			row[j] = src[sx]
		}
		emit(i, row)
	}
}

// nearestPositions gives the source position of each kept output position.
func nearestPositions(s span) []int {
	// Beyond this size Pillow's image would not fit its limits: the sum is not worth its time.
	const longest = 1 << 22
	step := float64(float32(s.in)) / float64(s.out)
	at := step * 0.5
	if s.out <= longest {
		for range s.from {
			at += step
		}
	} else {
		at = (float64(s.from) + 0.5) * step
	}
	out := make([]int, s.count)
	for i := range out {
		out[i] = min(int(at), s.in-1)
		at += step
	}
	return out
}

// resize16 is Pillow's resampling of 16-bit grey: float64 sums, rounded and clipped to 16 bits after each pass.
func (s *scaler) resize16(m *Image, x, y span, f filter, emit func(y int, row []uint8)) {
	wx, left, right := s.weightsOf(x, f, true)
	wy, top, bottom := s.weightsOf(y, f, true)
	width, height := right-left, bottom-top
	p := make([]uint16, width*height)
	for i := range height {
		src := m.Pix[2*((y.at+top+i)*m.Width+x.at+left):]
		for j := range width {
			p[i*width+j] = read16(src, j)
		}
	}
	if downFirst(x, y) {
		p = down16(p, width, wy, top)
		p = across16(p, width, wx, left)
	} else {
		p = across16(p, width, wx, left)
		p = down16(p, x.count, wy, top)
	}
	row := make([]uint8, 2*x.count)
	for i := range y.count {
		for j, v := range p[i*x.count:][:x.count] {
			row[2*j], row[2*j+1] = uint8(v), uint8(v>>8)
		}
		emit(i, row)
	}
}

// across16 is the horizontal pass over rows of width values; nil weights change nothing.
func across16(src []uint16, width int, w *weights, left int) []uint16 {
	if w == nil {
		return src
	}
	height := len(src) / width
	out := make([]uint16, 0, height*len(w.first))
	for i := range height {
		row := src[i*width:][:width]
		for j, first := range w.first {
			sum := 0.0
			for t, k := range w.exact[j*w.stride:][:w.n[j]] {
				sum += float64(float64(row[int(first)-left+t]) * k)
			}
			out = append(out, clip16(sum))
		}
	}
	return out
}

// down16 is the vertical pass over rows of width values; nil weights change nothing.
func down16(src []uint16, width int, w *weights, top int) []uint16 {
	if w == nil {
		return src
	}
	out := make([]uint16, 0, width*len(w.first))
	for i, first := range w.first {
		for j := range width {
			sum := 0.0
			for t, k := range w.exact[i*w.stride:][:w.n[i]] {
				sum += float64(float64(src[(int(first)-top+t)*width+j]) * k)
			}
			out = append(out, clip16(sum))
		}
	}
	return out
}

func read16(p []uint8, i int) uint16 { return uint16(p[2*i]) | uint16(p[2*i+1])<<8 }

// clip16 rounds half away from zero and holds the value between 0 and 65535.
func clip16(v float64) uint16 {
	if v < 0 {
		return 0
	}
	return uint16(min(int(v+0.5), 65535))
}
