package preprocess

import (
	"image"
	"image/draw"
)

// Convert converts an image of Go's own kind: grey to ModeL, one through which something shows to ModeRGBA, any
// other to ModeRGB, 16 bits cut to 8. It shares no memory with img. A JPEG that image/jpeg has decoded has pixels a
// little different from those of [Decode], which are Pillow's.
func Convert(img image.Image) (*Image, error) {
	if img == nil {
		return nil, fail(ErrEmpty, "no image was given")
	}
	r := img.Bounds()
	if err := DefaultLimits.size("image.Image", r.Dx(), r.Dy()); err != nil {
		return nil, err
	}
	to := image.Rect(0, 0, r.Dx(), r.Dy())
	switch grey := img.(type) {
	case *image.Gray:
		out := newImage(ModeL, to.Dx(), to.Dy())
		for y := range out.Height {
			copy(out.Pix[y*out.Width:(y+1)*out.Width], grey.Pix[grey.PixOffset(r.Min.X, r.Min.Y+y):])
		}
		return out, nil
	case *image.Gray16:
		out := image.NewGray(to)
		draw.Draw(out, to, img, r.Min, draw.Src)
		return &Image{Width: to.Dx(), Height: to.Dy(), Mode: ModeL, Pix: out.Pix}, nil
	}
	if o, ok := img.(interface{ Opaque() bool }); ok && o.Opaque() {
		out := image.NewRGBA(to) // draw knows short ways to it
		draw.Draw(out, to, img, r.Min, draw.Src)
		return &Image{Width: to.Dx(), Height: to.Dy(), Mode: ModeRGB, Pix: dropFourth(out.Pix)}, nil
	}
	out := image.NewNRGBA(to)
	if straight, ok := img.(*image.NRGBA); ok { // draw would lose the colours under what is transparent
		for y := range to.Dy() {
			copy(out.Pix[y*out.Stride:(y+1)*out.Stride], straight.Pix[straight.PixOffset(r.Min.X, r.Min.Y+y):])
		}
	} else {
		draw.Draw(out, to, img, r.Min, draw.Src)
	}
	return &Image{Width: to.Dx(), Height: to.Dy(), Mode: ModeRGBA, Pix: out.Pix}, nil
}
