package preprocess

// muldiv255 is Pillow's MULDIV255: a*b/255, rounded.
func muldiv255(a, b uint32) uint32 {
	t := a*b + 128
	return (t + t>>8) >> 8
}

// unpremultiply is Pillow's RGBa to RGBA for one channel, alpha neither 0 nor 255.
func unpremultiply(v, alpha uint8) uint8 {
	return uint8(min(255*uint32(v)/uint32(alpha), 255))
}

// luma is Pillow's RGB to L: ITU-R 601-2 in 16-bit fixed point, rounded.
func luma(r, g, b uint8) uint8 {
	return uint8((uint32(r)*19595 + uint32(g)*38470 + uint32(b)*7471 + 0x8000) >> 16)
}

// premultiplyRow writes RGBA as RGBa, or LA as La: the form in which Pillow resizes them.
func premultiplyRow(dst, src []uint8, mode Mode) {
	if mode == ModeLA {
		for i := 0; i+1 < len(src); i += 2 {
			dst[i] = uint8(muldiv255(uint32(src[i]), uint32(src[i+1])))
			dst[i+1] = src[i+1]
		}
		return
	}
	for i := 0; i+3 < len(src); i += 4 {
		s, d := src[i:i+4:i+4], dst[i:i+4:i+4]
		switch a := uint32(s[3]); a {
		case 255:
			copy(d, s)
		case 0:
			d[0], d[1], d[2], d[3] = 0, 0, 0, 0
		default:
			d[0] = uint8(muldiv255(uint32(s[0]), a))
			d[1] = uint8(muldiv255(uint32(s[1]), a))
			d[2] = uint8(muldiv255(uint32(s[2]), a))
			d[3] = s[3]
		}
	}
}

// unpremultiplyRow undoes premultiplyRow in place, as Pillow does after resizing.
func unpremultiplyRow(row []uint8, mode Mode) {
	n := mode.Bytes()
	for i := 0; i+n <= len(row); i += n {
		px := row[i : i+n : i+n]
		a := px[n-1]
		if a == 0 || a == 255 {
			continue
		}
		for c := range n - 1 {
			px[c] = unpremultiply(px[c], a)
		}
	}
}

// rowToRGB converts pixels of any mode to RGB triples as Pillow's convert("RGB").
func rowToRGB(dst, src []uint8, mode Mode, palette [][4]uint8) {
	switch mode {
	case ModeRGB:
		copy(dst, src)
	case ModeL, Mode1:
		for i, v := range src {
			d := dst[3*i : 3*i+3 : 3*i+3]
			d[0], d[1], d[2] = v, v, v
		}
	case ModeP:
		for i, v := range src {
			d := dst[3*i : 3*i+3 : 3*i+3]
			var p [4]uint8
			if int(v) < len(palette) {
				p = palette[v]
			}
			d[0], d[1], d[2] = p[0], p[1], p[2]
		}
	case ModeI16:
		for i := range len(src) / 2 {
			v := src[2*i]
			if src[2*i+1] != 0 {
				v = 255
			}
			d := dst[3*i : 3*i+3 : 3*i+3]
			d[0], d[1], d[2] = v, v, v
		}
	case ModeLA:
		for i := range len(src) / 2 {
			v := src[2*i]
			d := dst[3*i : 3*i+3 : 3*i+3]
			d[0], d[1], d[2] = v, v, v
		}
	case ModeRGBA:
		for i := range len(src) / 4 {
			s, d := src[4*i:4*i+4:4*i+4], dst[3*i:3*i+3:3*i+3]
			d[0], d[1], d[2] = s[0], s[1], s[2]
		}
	case ModeCMYK:
		for i := range len(src) / 4 {
			s, d := src[4*i:4*i+4:4*i+4], dst[3*i:3*i+3:3*i+3]
			nk := 255 - uint32(s[3])
			d[0] = uint8(nk - muldiv255(uint32(s[0]), nk))
			d[1] = uint8(nk - muldiv255(uint32(s[1]), nk))
			d[2] = uint8(nk - muldiv255(uint32(s[2]), nk))
		}
	}
}

// packed drops the bytes between rows, where there are any.
func packed(pix []uint8, stride, length, rows int) []uint8 {
	if stride == length {
		return pix[:length*rows]
	}
	out := make([]uint8, length*rows)
	for y := range rows {
		copy(out[y*length:][:length], pix[y*stride:])
	}
	return out
}

// dropFourth turns RGBA into RGB in place.
func dropFourth(pix []uint8) []uint8 {
	n := len(pix) / 4
	for i := range n {
		s, d := pix[4*i:4*i+4:4*i+4], pix[3*i:3*i+3:3*i+3]
		d[0], d[1], d[2] = s[0], s[1], s[2]
	}
	return pix[: 3*n : 3*n]
}
