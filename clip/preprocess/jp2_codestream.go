package preprocess

import (
	"encoding/binary"
	"slices"
)

// jp2Size is the SIZ segment of a JPEG 2000 codestream: the reference grid, of which the image and its
// tiles are rectangles (ISO/IEC 15444-1, A.5.1 and B.3).
type jp2Size struct {
	x0, y0, x1, y1               int64 // of the image
	tileX0, tileY0, tileW, tileH int64 // the first tile begins at (tileX0, tileY0)
	tilesX, tilesY               int64
	width, height                int
	bits                         []uint8 // of each component
}

// jp2Coding is a COD or COC segment, as far as memory goes by it (A.6.1, A.6.2).
type jp2Coding struct {
	layers         int64
	levels         int
	blockX, blockY int  // log2 of a code block's sides
	terminates     bool // a code block has a segment for each of its passes
	precincts      [33]uint8
}

const maxJP2Codings = 4 // different COD and COC segments of one file

// jp2Markers are the segments that OpenJPEG knows, and skips by their length as they are skipped here.
// It looks for the end of any other, and could find segments inside that were not seen here.
const jp2Markers = "\x50\x51\x52\x53\x55\x57\x58\x59\x5c\x5d\x5e\x5f\x60\x61\x63\x64\x74\x75\x77\x78"

var errJP2Truncated error = fail(ErrTruncated, "the JPEG 2000 data ends early; the file is truncated")

// read checks the frame of a codestream, up to its end, and tells what OpenJPEG holds while it
// decodes it.
func (s *jp2Size) read(data []byte) (memory int64, err error) {
	if len(data) < 4 {
		return 0, errJP2Truncated
	}
	if string(data[:4]) != "\xff\x4f\xff\x51" {
		return 0, fail(ErrCorrupt, "the JPEG 2000 codestream begins with % x; it must begin with ff 4f ff 51", data[:4])
	}
	codings, rest, err := s.readHeader(nil, data[2:], 0x90)
	if err != nil {
		return 0, err
	}
	if s.bits == nil || len(codings) == 0 {
		return 0, fail(ErrCorrupt, "the JPEG 2000 codestream has no coding style before its first tile")
	}
	for len(rest) > 0 && !(len(rest) >= 2 && rest[0] == 0xff && rest[1] == 0xd9) {
		if len(rest) < 12 {
			return 0, errJP2Truncated
		}
		length := int64(binary.BigEndian.Uint32(rest[6:]))
		if length == 0 {
			length = int64(len(rest))
		}
		if string(rest[:4]) != "\xff\x90\x00\x0a" || length < 14 {
			return 0, fail(ErrCorrupt, "the JPEG 2000 codestream has no tile-part where one must begin")
		}
		if length > int64(len(rest)) {
			return 0, errJP2Truncated
		}
		if codings, _, err = s.readHeader(codings, rest[12:length], 0x93); err != nil {
			return 0, err
		}
		rest = rest[length:]
	}
	return s.memory(codings, int64(len(data)))
}

// readHeader reads the segments of a header, to the marker that ends it.
func (s *jp2Size) readHeader(codings []jp2Coding, data []byte, end byte) (_ []jp2Coding, rest []byte, err error) {
	for len(data) >= 4 && data[0] == 0xff && data[1] != end {
		marker, n := data[1], int(binary.BigEndian.Uint16(data[2:]))
		if n+2 > len(data) {
			return nil, nil, errJP2Truncated
		}
		if n < 2 || !slices.Contains([]byte(jp2Markers), marker) {
			return nil, nil, unsupported("JPEG 2000", "with a segment ff %02x of %d bytes is not read", marker, n)
		}
		body := data[4 : n+2]
		switch marker {
		case 0x51:
			err = s.readSize(body)
		case 0x52, 0x53:
			codings, err = s.readCoding(codings, body, marker == 0x53)
		}
		if err != nil {
			return nil, nil, err
		}
		data = data[n+2:]
	}
	if len(data) < 2 {
		return nil, nil, errJP2Truncated
	}
	if data[0] != 0xff || data[1] != end {
		return nil, nil, fail(ErrCorrupt, "the JPEG 2000 codestream has % x where a segment must begin", data[:2])
	}
	return codings, data, nil
}

func (s *jp2Size) readSize(body []byte) error {
	if s.bits != nil || len(body) < 36+3 {
		return fail(ErrCorrupt, "the JPEG 2000 codestream has two sizes, or a short one")
	}
	at := func(i int) int64 { return int64(binary.BigEndian.Uint32(body[2+4*i:])) }
	s.x1, s.y1, s.x0, s.y0 = at(0), at(1), at(2), at(3)
	s.tileW, s.tileH, s.tileX0, s.tileY0 = at(4), at(5), at(6), at(7)
	n := int(binary.BigEndian.Uint16(body[34:]))
	if len(body) != 36+3*n {
		return fail(ErrCorrupt, "the JPEG 2000 codestream gives %d components in %d bytes", n, len(body))
	}
	if n > 4 {
		return unsupported("JPEG 2000", "of %d components is not read; it must have 1 to 4", n)
	}
	for i := range n {
		c := body[36+3*i:]
		if s.bits = append(s.bits, c[0]&0x7f+1); s.bits[i] > 31 {
			return unsupported("JPEG 2000", "of %d bits is not read; it must have at most 31", s.bits[i])
		}
		if c[1] != 1 || c[2] != 1 {
			return unsupported("JPEG 2000", "with subsampled components is not read; convert it to PNG first")
		}
	}
	if s.x1 <= s.x0 || s.y1 <= s.y0 || s.tileW == 0 || s.tileH == 0 || s.tileX0 > s.x0 || s.tileY0 > s.y0 ||
		s.tileX0+s.tileW <= s.x0 || s.tileY0+s.tileH <= s.y0 || max(s.x1, s.y1) > 1<<31-1 {
		return fail(ErrCorrupt, "the JPEG 2000 codestream has tiles beside its image")
	}
	s.width, s.height = int(s.x1-s.x0), int(s.y1-s.y0)
	s.tilesX, s.tilesY = ceilDiv(s.x1-s.tileX0, s.tileW), ceilDiv(s.y1-s.tileY0, s.tileH)
	if s.tilesX*s.tilesY > 65535 {
		return fail(ErrCorrupt, "the JPEG 2000 codestream has %dx%d tiles; at most 65,535 are allowed", s.tilesX, s.tilesY)
	}
	return nil
}

// readCoding adds a coding style to those of the file. That of a component (COC) has the layers of the
// others.
func (s *jp2Size) readCoding(codings []jp2Coding, body []byte, component bool) ([]jp2Coding, error) {
	bad := fail(ErrCorrupt, "the JPEG 2000 codestream has a coding style that makes no sense")
	c := jp2Coding{layers: 1}
	if s.bits == nil || len(body) < 10 && !component || len(body) < 7 {
		return nil, bad
	}
	own := body[0]&1 != 0
	if component {
		own, body = body[1]&1 != 0, body[2:]
	} else {
		c.layers, body = int64(binary.BigEndian.Uint16(body[2:])), body[5:]
	}
	c.levels, c.blockX, c.blockY, c.terminates = int(body[0]), int(body[1])+2, int(body[2])+2, body[3]&4 != 0
	if c.levels > 32 || c.blockX > 10 || c.blockY > 10 || c.blockX+c.blockY > 12 || c.layers == 0 {
		return nil, bad
	}
	for r := range c.levels + 1 {
		c.precincts[r] = 0xff
		if own && 5+r >= len(body) {
			return nil, bad
		}
		if own {
			c.precincts[r] = body[5+r]
			if r > 0 && (c.precincts[r]&15 == 0 || c.precincts[r]>>4 == 0) {
				return nil, bad
			}
		}
	}
	if slices.Contains(codings, c) {
		return codings, nil
	}
	if len(codings) == maxJP2Codings {
		return nil, unsupported("JPEG 2000", "with more than %d coding styles is not read", maxJP2Codings)
	}
	return append(codings, c), nil
}

// Bytes that OpenJPEG 2.5 allocates, rounded up: sizes of its structures and of what malloc adds.
const (
	jp2OfTile     = 12 << 10 // the coding parameters and the index of a tile
	jp2OfTilePart = 1500     // of a tile's component
	jp2OfBlock    = 800      // a code block, its first segments and its nodes of two tag trees
	jp2OfChunk    = 80       // a code block in a layer
	jp2OfSegment  = 100      // a pass that ends a segment
	jp2OfPrecinct = 500
	jp2Always     = 8 << 20
	jp2Passes     = 164 // of a code block, at most
)

// memory is what OpenJPEG holds at most: by the worst of the coding styles, as any tile and component may have it.
func (s *jp2Size) memory(codings []jp2Coding, length int64) (int64, error) {
	var layers int64
	for _, c := range codings {
		layers = max(layers, c.layers)
	}
	if max(s.width, s.height) > longestSide {
		return 0, nil // the size is refused
	}
	n := int64(len(s.bits))
	worst, packets := int64(0), int64(0)
	for _, c := range codings {
		ofCoding := int64(0)
		for y := range s.tilesY {
			for x := range s.tilesX {
				blocks, precincts, most := s.tile(x, y, &c)
				if max(blocks, precincts) > 1<<31 {
					return 1 << 60, nil
				}
				packets += precincts * n * layers
				of := n * (blocks*(jp2OfBlock+min(layers, 4*length)*jp2OfChunk) + precincts*jp2OfPrecinct)
				if c.terminates {
					of += n * min(blocks*jp2Passes, 3*length) * jp2OfSegment
				}
				of += 2 * (layers + 1) * int64(c.levels+1) * n * most
				ofCoding = max(ofCoding, of)
			}
		}
		worst = max(worst, ofCoding)
	}
	if packets/int64(len(codings)) > 16*length { // a packet has a byte at least
		return 0, fail(ErrCorrupt, "the JPEG 2000 codestream of %d bytes should hold %d packets", length, packets/int64(len(codings)))
	}
	pixels := int64(s.width) * int64(s.height)
	if s.tilesX*s.tilesY > 1 {
		pixels += min(s.tileW, int64(s.width)) * min(s.tileH, int64(s.height))
	}
	return worst + 4*n*pixels + s.tilesX*s.tilesY*(jp2OfTile+n*jp2OfTilePart) + 2*length + jp2Always, nil
}

// tile counts a component's code blocks and precincts in a tile, and the most precincts of one of its
// resolutions (B.5 to B.7).
func (s *jp2Size) tile(x, y int64, c *jp2Coding) (blocks, precincts, most int64) {
	x0, y0 := max(s.tileX0+x*s.tileW, s.x0), max(s.tileY0+y*s.tileH, s.y0)
	x1, y1 := min(s.tileX0+(x+1)*s.tileW, s.x1), min(s.tileY0+(y+1)*s.tileH, s.y1)
	for r := range c.levels + 1 {
		down := c.levels - r
		px, py := int(c.precincts[r]&15), int(c.precincts[r]>>4)
		of := cells(shiftUp(x0, down), shiftUp(x1, down), px) * cells(shiftUp(y0, down), shiftUp(y1, down), py)
		precincts, most = precincts+of, max(most, of)
		if r == 0 {
			blocks += cells(shiftUp(x0, down), shiftUp(x1, down), min(px, c.blockX)) * cells(shiftUp(y0, down), shiftUp(y1, down), min(py, c.blockY))
			continue
		}
		bx, by := min(px-1, c.blockX), min(py-1, c.blockY)
		for band := 1; band < 4; band++ { // HL, LH and HH
			ox, oy := int64(band&1)<<down, int64(band>>1)<<down
			blocks += cells(shiftUp(x0-ox, down+1), shiftUp(x1-ox, down+1), bx) * cells(shiftUp(y0-oy, down+1), shiftUp(y1-oy, down+1), by)
		}
	}
	return blocks, precincts, most
}

// cells counts the cells of side 1<<log that the half-open interval from a to b touches.
func cells(a, b int64, log int) int64 {
	if b <= a {
		return 0
	}
	return (b-1)>>log - a>>log + 1
}

// shiftUp is a divided by 1<<n, rounded up.
func shiftUp(a int64, n int) int64 { return -(-a >> n) }

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
