package preprocess

// Mode says what the bytes of an Image mean. The names are Pillow's.
type Mode uint8

// The modes that Decode gives, with the bytes of one pixel.
const (
	ModeL     Mode = iota // grey: 1 byte
	Mode1                 // black or white: 1 byte, 0 or 255
	ModeP                 // index into Palette: 1 byte
	ModeI16               // 16-bit grey: 2 bytes, low byte first
	ModeLA                // grey, alpha: 2 bytes
	ModeRGB               // 3 bytes
	ModeRGBA              // 4 bytes, not premultiplied
	ModeCMYK              // 4 bytes, 0 is no ink
	modeCount = iota
)

var modeNames = [modeCount]string{"L", "1", "P", "I;16", "LA", "RGB", "RGBA", "CMYK"}
var modeBytes = [modeCount]int{1, 1, 1, 2, 2, 3, 4, 4}

// String returns Pillow's name: "L", "1", "P", "I;16", "LA", "RGB", "RGBA" or "CMYK".
func (m Mode) String() string {
	if int(m) < modeCount {
		return modeNames[m]
	}
	return "?"
}

// Bytes returns the number of bytes of one pixel, 0 for a mode that does not exist.
func (m Mode) Bytes() int {
	if int(m) < modeCount {
		return modeBytes[m]
	}
	return 0
}

// Image is a decoded image in the mode of its file, rows from the top, without padding between rows.
type Image struct {
	Width, Height int
	Mode          Mode
	Pix           []uint8    // (Height, Width, Mode.Bytes())
	Palette       [][4]uint8 // RGBA, only for ModeP; an index beyond it is black
}

func newImage(mode Mode, w, h int) *Image {
	return &Image{Width: w, Height: h, Mode: mode, Pix: make([]uint8, w*h*mode.Bytes())}
}

// check refuses a hand-made Image whose bytes do not fit its size.
func (m *Image) check() error {
	if m == nil {
		return fail(ErrEmpty, "no image was given")
	}
	if int(m.Mode) >= modeCount {
		return fail(ErrUnsupported, "image mode %d does not exist", m.Mode)
	}
	if m.Width <= 0 || m.Height <= 0 {
		return fail(ErrEmpty, "an image of %dx%d has no pixels", m.Width, m.Height)
	}
	if max(m.Width, m.Height) > longestSide {
		e := &LimitError{Width: m.Width, Height: m.Height, Limits: DefaultLimits}
		return &Error{Kind: e, Detail: e.Error()}
	}
	if want := m.Width * m.Height * m.Mode.Bytes(); len(m.Pix) != want {
		return fail(ErrCorrupt, "a %dx%d image of mode %s needs %d bytes, Pix has %d",
			m.Width, m.Height, m.Mode, want, len(m.Pix))
	}
	return nil
}

// RGB converts as Pillow's convert("RGB"): alpha is dropped, palette looked up, 16-bit grey clipped at 255.
// The result shares no memory with m.
func (m *Image) RGB() *Image {
	out := newImage(ModeRGB, m.Width, m.Height)
	rowToRGB(out.Pix, m.Pix, m.Mode, m.Palette)
	return out
}
