//go:build !cgo || nojpegturbo

package preprocess

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
)

// HasJPEGTurbo reports whether JPEG is decoded by libjpeg-turbo, to the bit as Pillow does.
const HasJPEGTurbo = false

// decodeJPEG takes image/jpeg. It repeats chroma where libjpeg interpolates it, so colour edges
// differ a little.
func decodeJPEG(ctx context.Context, data []byte, colours jpegColours, lim Limits) (*Image, error) {
	if colours == jpegStored {
		return nil, unsupported("TIFF", "with JPEG data of these colours is not read without libjpeg-turbo")
	}
	head, err := jpeg.DecodeConfig(bytes.NewReader(data))
	var unknown jpeg.UnsupportedError
	if errors.As(err, &unknown) {
		return nil, unsupported("JPEG", "with %s is not read by image/jpeg; build with libjpeg-turbo", string(unknown))
	}
	if err != nil {
		return nil, err
	}
	if err := lim.size("JPEG", head.Width, head.Height); err != nil {
		return nil, err
	}
	decoded, err := jpeg.Decode(&cancellable{ctx: ctx, r: bytes.NewReader(data)})
	if err != nil {
		return nil, err
	}
	w, h := head.Width, head.Height
	switch m := decoded.(type) {
	case *image.Gray:
		return &Image{Width: w, Height: h, Mode: ModeL, Pix: packed(m.Pix, m.Stride, w, h)}, nil
	case *image.CMYK:
		return &Image{Width: w, Height: h, Mode: ModeCMYK, Pix: packed(m.Pix, m.Stride, 4*w, h)}, nil
	case *image.YCbCr:
		out := lim.image(ModeRGB, w, h)
		for y := range h {
			row := out.Pix[3*y*w:][:3*w]
			for x := range w {
				yi, ci := m.YOffset(x, y), m.COffset(x, y)
				row[3*x], row[3*x+1], row[3*x+2] = color.YCbCrToRGB(m.Y[yi], m.Cb[ci], m.Cr[ci])
			}
		}
		return out, nil
	case *image.RGBA:
		return &Image{Width: w, Height: h, Mode: ModeRGB, Pix: dropFourth(packed(m.Pix, m.Stride, 4*w, h))}, nil
	}
	return nil, unsupported("JPEG", "of this colour space is not read")
}
