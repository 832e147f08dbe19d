package preprocess

import "image"

// webpColours converts 4:2:0 planes to RGB or RGBA with libwebp's fancy upsampling (src/dsp/upsampling.c): each pixel
// takes 9/16 of its own chroma sample, 3/16 of each neighbour and 1/16 of the diagonal one. alpha may be nil.
func webpColours(out *Image, m *image.YCbCr, alpha []uint8, alphaStride int) {
	w, h := out.Width, out.Height
	chroma := make([]uint16, 4*w)
	u0, v0, u1, v1 := chroma[:w], chroma[w:2*w], chroma[2*w:3*w], chroma[3*w:]
	half := (w + 1) / 2
	row := func(p []uint8, y int) []uint8 { return p[y*m.CStride:][:half] }

	emit := func(y int, u, v []uint16) {
		n := out.Mode.Bytes()
		dst := out.Pix[y*w*n:][:w*n]
		luma := m.Y[y*m.YStride:][:w]
		for x := range w {
			px := dst[x*n : x*n+n : x*n+n]
			px[0], px[1], px[2] = webpRGB(int(luma[x]), int(u[x]), int(v[x]))
			if n == 4 {
				px[3] = 255
				if alpha != nil {
					px[3] = alpha[y*alphaStride+x]
				}
			}
		}
	}
	// Rows 2k-1 and 2k lie between chroma rows k-1 and k; the first and the last row have one alone.
	rows := (h + 1) / 2
	for k := 0; k <= rows; k++ {
		top, bottom := max(k-1, 0), min(k, rows-1)
		upsamplePair(u0, u1, row(m.Cb, top), row(m.Cb, bottom))
		upsamplePair(v0, v1, row(m.Cr, top), row(m.Cr, bottom))
		if y := 2*k - 1; y >= 0 && y < h {
			emit(y, u0, v0)
		}
		if y := 2 * k; y < h {
			emit(y, u1, v1)
		}
	}
}

// upsamplePair widens two chroma rows to the two pixel rows between them.
func upsamplePair(top, bottom []uint16, a, b []uint8) {
	w := len(top)
	ta, tb := uint16(a[0]), uint16(b[0])
	top[0], bottom[0] = (3*ta+tb+2)>>2, (3*tb+ta+2)>>2
	for x := 1; x <= (w-1)/2; x++ {
		na, nb := uint16(a[x]), uint16(b[x])
		sum := ta + na + tb + nb + 8
		rising := (sum + 2*(na+tb)) >> 3
		falling := (sum + 2*(ta+nb)) >> 3
		top[2*x-1], top[2*x] = (rising+ta)>>1, (falling+na)>>1
		bottom[2*x-1], bottom[2*x] = (falling+tb)>>1, (rising+nb)>>1
		ta, tb = na, nb
	}
	if w%2 == 0 {
		top[w-1], bottom[w-1] = (3*ta+tb+2)>>2, (3*tb+ta+2)>>2
	}
}

// webpRGB is libwebp's conversion (src/dsp/yuv.h): BT.601, limited range, 14-bit fixed point.
func webpRGB(y, u, v int) (r, g, b uint8) {
	y = y * 19077 >> 8
	clip := func(x int) uint8 { return uint8(max(min(x>>6, 255), 0)) }
	return clip(y + v*26149>>8 - 14234), clip(y - u*6419>>8 - v*13320>>8 + 8708), clip(y + u*33050>>8 - 17685)
}
