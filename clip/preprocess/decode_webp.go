package preprocess

import (
	"bytes"
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

// decodeWebP gives RGBA where the file says that it has alpha, else RGB. An animation gives its first frame on a
// transparent canvas. The chroma of lossy pictures is interpolated and converted as libwebp does, which x/image leaves
// to its caller.
func decodeWebP(data []byte, lim Limits) (*Image, error) {
	chunks := webpChunks(data[12:])
	if len(chunks) == 0 {
		return nil, fail(ErrTruncated, "the WebP data ends inside its header; the file is truncated")
	}
	if c := chunks[0]; c.id == "VP8X" && len(c.body) >= 10 {
		w, h := 1+u24(c.body[4:]), 1+u24(c.body[7:])
		if err := lim.size("WebP", w, h); err != nil {
			return nil, err
		}
		alpha := c.body[0]&webpAlpha != 0
		if c.body[0]&webpAnimated != 0 {
			return webpFirstFrame(chunks, w, h, alpha)
		}
		return webpStill(webpFile(w, h, chunks[1:]), alpha)
	}
	head, err := webp.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := lim.size("WebP", head.Width, head.Height); err != nil {
		return nil, err
	}
	lossless := chunks[0]
	alpha := lossless.id == "VP8L" && len(lossless.body) >= 5 && lossless.body[4]&0x10 != 0
	return webpStill(data, alpha)
}

func u24(p []byte) int { return int(p[0]) | int(p[1])<<8 | int(p[2])<<16 }

// webpChunks splits data; a chunk cut short keeps what is there.
func webpChunks(data []byte) (out []webpChunk) {
	for len(data) >= 8 {
		size := int(binary.LittleEndian.Uint32(data[4:]))
		body := data[8:]
		c := webpChunk{id: string(data[:4]), body: body[:min(size, len(body))]}
		out = append(out, c)
		data = body[min(size+size&1, len(body)):]
	}
	return out
}

// webpFile puts the image chunks into a file that x/image reads: it wants the VP8X alpha flag to say whether an ALPH
// chunk follows, and nothing else before the image.
func webpFile(w, h int, chunks []webpChunk) []byte {
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
	for _, c := range chunks {
		if c.id == "ALPH" {
			flags = webpAlpha
		}
		if c.id == "ALPH" || c.id == "VP8 " || c.id == "VP8L" {
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
func webpFirstFrame(chunks []webpChunk, w, h int, alpha bool) (*Image, error) {
	for _, c := range chunks {
		if c.id != "ANMF" {
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
		frame, err := webpStill(webpFile(fw, fh, webpChunks(c.body[16:])), alpha)
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

// webpStill decodes a file of one picture to RGBA or RGB.
func webpStill(data []byte, alpha bool) (*Image, error) {
	decoded, err := webp.Decode(bytes.NewReader(data))
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
