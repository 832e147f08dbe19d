package preprocess

import (
	"bytes"
	"context"
	"encoding/binary"
	"image"

	"golang.org/x/image/webp"
)

// webpChunk is one RIFF chunk of a WebP file.
type webpChunk struct {
	id   string
	body []byte
}

// webpFlags of the VP8X chunk.
const (
	webpAnimated = 1 << 1
	webpAlpha    = 1 << 4
)

// openWebP gives RGBA where the file says that it has alpha, else RGB. An animation gives its first
// frame on a transparent canvas. The chroma of lossy images is interpolated and converted as
// libwebp does, which x/image leaves to its caller.
func openWebP(data []byte) (*decoder, error) {
	if len(data) < 20 {
		return nil, fail(ErrTruncated, "the WebP data ends inside its header; the file is truncated")
	}
	c, rest := nextChunk(data[12:])
	if c.id == "VP8X" && len(c.body) >= 10 {
		w, h := 1+u24(c.body[4:]), 1+u24(c.body[7:])
		alpha := c.body[0]&webpAlpha != 0
		if c.body[0]&webpAnimated == 0 {
			alpha = webpHasAlpha(rest, alpha)
		}
		return webpImage(w, h, alpha, len(data), func(ctx context.Context) (*Image, error) {
			if c.body[0]&webpAnimated != 0 {
				return webpFirstFrame(ctx, rest, w, h, alpha)
			}
			return webpStill(ctx, webpFile(w, h, rest), alpha)
		}), nil
	}
	head, err := webp.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	alpha := webpHasAlpha(data[12:], false)
	return webpImage(head.Width, head.Height, alpha, len(data), func(ctx context.Context) (*Image, error) {
		return webpStill(ctx, data, alpha)
	}), nil
}

func webpImage(w, h int, alpha bool, file int, decode func(context.Context) (*Image, error)) *decoder {
	mode := ModeRGB
	if alpha {
		mode = ModeRGBA
	}
	pixels := int64(w) * int64(h)
	result := pixels * int64(mode.Bytes())
	// Beside the result, x/image holds up to 8 bytes a pixel of lossless data, and a copy of the
	// file.
	return &decoder{width: w, height: h, result: result, memory: result + 8*pixels + int64(file) + 1<<20,
		decode: func(ctx context.Context, _ Limits) (*Image, error) { return decode(ctx) }}
}

func u24(p []byte) int { return int(p[0]) | int(p[1])<<8 | int(p[2])<<16 }

// nextChunk takes the first chunk off data, which has at least 8 bytes; one cut short keeps what is
// there.
func nextChunk(data []byte) (c webpChunk, rest []byte) {
	size := int(binary.LittleEndian.Uint32(data[4:]))
	body := data[8:]
	c = webpChunk{id: string(data[:4]), body: body[:min(size, len(body))]}
	return c, body[min(size+size&1, len(body)):]
}

// webpHasAlpha reports whether the image in chunks has alpha, where the file's header said flag:
// what a lossless image says itself counts more. An ALPH chunk without the flag is passed over,
// as in libwebp.
func webpHasAlpha(data []byte, flag bool) bool {
	for len(data) >= 8 {
		var c webpChunk
		switch c, data = nextChunk(data); c.id {
		case "VP8L":
			return len(c.body) >= 5 && c.body[4]&0x10 != 0
		case "VP8 ":
			return flag
		}
	}
	return flag
}

// webpFile puts the image chunks into a file that x/image reads: it needs the VP8X alpha flag to
// say whether an ALPH chunk follows, and nothing else before the image.
func webpFile(w, h int, data []byte) []byte {
	var body []byte
	flags := byte(0)
	add := func(id string, b []byte) {
		body = append(body, id...)
		body = binary.LittleEndian.AppendUint32(body, uint32(len(b)))
		body = append(body, b...)
		if len(b)%2 == 1 {
			body = append(body, 0)
		}
	}
	for c := (webpChunk{}); len(data) >= 8 && c.id != "VP8 " && c.id != "VP8L"; {
		switch c, data = nextChunk(data); {
		case c.id == "ALPH" && flags == 0:
			flags = webpAlpha
			add(c.id, c.body)
		case c.id == "VP8 ", c.id == "VP8L":
			add(c.id, c.body)
		}
	}
	images := body
	body = []byte("WEBP")
	add("VP8X", []byte{flags, 0, 0, 0, byte(w - 1), byte((w - 1) >> 8), byte((w - 1) >> 16),
		byte(h - 1), byte((h - 1) >> 8), byte((h - 1) >> 16)})
	body = append(body, images...)
	file := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body)))
	return append(file, body...)
}

// webpFirstFrame draws the first ANMF chunk on its canvas.
func webpFirstFrame(ctx context.Context, data []byte, w, h int, alpha bool) (*Image, error) {
	for len(data) >= 8 {
		var c webpChunk
		if c, data = nextChunk(data); c.id != "ANMF" {
			continue
		}
		if len(c.body) < 16 {
			return nil, fail(ErrTruncated, "the WebP data ends inside its first frame; the file is truncated")
		}
		x, y := 2*u24(c.body), 2*u24(c.body[3:])
		fw, fh := 1+u24(c.body[6:]), 1+u24(c.body[9:])
		if x+fw > w || y+fh > h {
			return nil, fail(ErrCorrupt, "the first frame of the WebP lies outside its canvas")
		}
		frame, err := webpStill(ctx, webpFile(fw, fh, c.body[16:]), alpha)
		if err != nil {
			return nil, err
		}
		if fw == w && fh == h {
			return frame, nil
		}
		n := frame.Mode.Bytes()
		out := newImage(frame.Mode, w, h)
		for i := range fh {
			copy(out.Pix[((y+i)*w+x)*n:], frame.Pix[i*fw*n:][:fw*n])
		}
		return out, nil
	}
	return nil, fail(ErrTruncated, "the WebP animation holds no frame; it should hold at least one")
}

// webpStill decodes a file of one image to RGBA or RGB.
func webpStill(ctx context.Context, data []byte, alpha bool) (*Image, error) {
	decoded, err := webp.Decode(&cancellable{ctx: ctx, r: bytes.NewReader(data)})
	if err != nil {
		return nil, err
	}
	size := decoded.Bounds().Size()
	out := newImage(ModeRGB, size.X, size.Y)
	if alpha {
		out = newImage(ModeRGBA, size.X, size.Y)
	}
	switch m := decoded.(type) {
	case *image.NRGBA:
		if !alpha {
			out.Pix = dropFourth(m.Pix)
		} else {
			out.Pix = packed(m.Pix, m.Stride, 4*size.X, size.Y)
		}
	case *image.YCbCr:
		webpColours(out, m, nil, 0)
	case *image.NYCbCrA:
		webpColours(out, &m.YCbCr, m.A, m.AStride)
	default:
		return nil, unsupported("WebP", "of this kind is not read; save it again as PNG")
	}
	return out, nil
}
