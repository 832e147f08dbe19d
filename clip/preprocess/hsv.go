package preprocess

import "math"

// toHSV is Pillow's rgb2hsv_row. Its mix of single and double precision decides the last bit, so it is kept.
func toHSV(r, g, b uint8) (h, s, v uint8) {
	most, least := max(r, g, b), min(r, g, b)
	if most == least {
		return 0, 0, most
	}
	cr := float32(most - least)
	sat := cr / float32(most)
	rc, gc, bc := float32(most-r)/cr, float32(most-g)/cr, float32(most-b)/cr
	var hue float32
	switch most {
	case r:
		hue = bc - gc
	case g:
		hue = float32(2 + float64(rc) - float64(bc))
	default:
		hue = float32(4 + float64(gc) - float64(rc))
	}
	hue = float32(math.Mod(float64(float64(hue)/6)+1, 1))
	return byteOf(float64(hue) * 255), byteOf(float64(sat) * 255), most
}

// fromHSV is Pillow's hsv2rgb.
func fromHSV(h, s, v uint8) (r, g, b uint8) {
	if s == 0 {
		return v, v, v
	}
	sixth := float64(h) * 6 / 255
	i := math.Floor(sixth)
	f := float32(sixth - i)
	fs := float32(float64(s) / 255)
	value := float64(v)
	p := byteOf(math.Round(value * (1 - float64(fs))))
	q := byteOf(math.Round(value * (1 - float64(fs*f))))
	t := byteOf(math.Round(value * (1 - float64(float64(fs)*(1-float64(f))))))
	switch int(i) % 6 {
	case 0:
		return v, t, p
	case 1:
		return q, v, p
	case 2:
		return p, v, t
	case 3:
		return p, q, v
	case 4:
		return t, p, v
	}
	return v, p, q
}

func byteOf(v float64) uint8 { return uint8(max(min(int(v), 255), 0)) }
