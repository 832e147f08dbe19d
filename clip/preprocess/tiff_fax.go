package preprocess

import (
	"io"
	"math/bits"
)

// faxReader decodes CCITT's codes: rows of runs of white and black, white first. It gives packed
// rows, 1 for black.
type faxReader struct {
	data     []byte
	at       int // bit
	width    int
	kind     int  // 2, 3 or 4: the TIFF compression
	twoD     bool // group 3 whose rows say by a bit whether they refer to the row above
	aligned  bool // rows begin on a byte
	above    []int
	changes  []int // where the colour changes; the last is the width
	row      []byte
	left     []byte // what is left of row
	finished bool   // the code for the end was read
	runs     *[2][1 << faxBits]faxRun
}

// errFax is a code that makes no sense.
func errFax() error {
	return fail(ErrCorrupt, "the TIFF data cannot be read: a fax code is not defined or passes the end of its row")
}

func newFaxReader(data []byte, width, compression, options int) *faxReader {
	return &faxReader{data: data, width: width, kind: compression, twoD: compression == 3 && options&1 != 0,
		aligned: compression == 2, above: []int{width}, row: make([]byte, (width+7)/8), runs: faxRuns()}
}

func (f *faxReader) Read(to []byte) (int, error) {
	if len(f.left) == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
		f.left = f.row
	}
	n := copy(to, f.left)
	f.left = f.left[n:]
	return n, nil
}

// peek gives the next n bits, at most 24; zeros follow the end.
func (f *faxReader) peek(n int) int {
	v := 0
	for i := range 4 {
		v <<= 8
		if p := f.at/8 + i; p < len(f.data) {
			v |= int(f.data[p])
		}
	}
	return v >> (32 - n - f.at%8) & (1<<n - 1)
}

// next decodes a row into f.row.
func (f *faxReader) next() error {
	if f.aligned {
		f.at = (f.at + 7) / 8 * 8
	}
	flat := f.kind != 4
	if f.kind == 3 {
		f.endOfLine()
		if f.twoD {
			flat = f.peek(1) == 1
			f.at++
		}
	}
	if f.finished || f.at >= 8*len(f.data) {
		return io.ErrUnexpectedEOF
	}
	f.above, f.changes = append(f.changes, f.width), f.above[:0]
	var err error
	if flat {
		err = f.flat()
	} else {
		err = f.relative()
	}
	if err != nil {
		return err
	}
	f.paint()
	return nil
}

// endOfLine passes over the code before a row, eleven zeros or more and a one; some files have
// none.
func (f *faxReader) endOfLine() {
	zeros, end := 0, 8*len(f.data)
	for at := f.at; at < end; at++ {
		if f.data[at/8]>>(7-at%8)&1 == 0 {
			zeros++
			continue
		}
		if zeros >= 11 {
			f.at = at + 1
			f.finished = f.twoD && f.peek(13) == 1<<12|1 || !f.twoD && f.peek(12) == 1 // another one: the end of the page
		}
		return
	}
	if zeros >= 11 {
		f.at = end
	}
}

// run reads the codes of one run.
func (f *faxReader) run(colour int) (int, error) {
	for total := 0; ; {
		r := f.runs[colour][f.peek(faxBits)]
		if r.bits == 0 || f.at >= 8*len(f.data) {
			if f.at+faxBits > 8*len(f.data) {
				return 0, io.ErrUnexpectedEOF
			}
			return 0, errFax()
		}
		f.at += int(r.bits)
		if total += int(r.length); total > f.width {
			return 0, errFax()
		}
		if r.length < 64 {
			return total, nil
		}
	}
}

// flat reads runs up to the end of the row.
func (f *faxReader) flat() error {
	for at, colour := 0, 0; at < f.width; colour = 1 - colour {
		n, err := f.run(colour)
		if err != nil {
			return err
		}
		if at += n; at > f.width || len(f.changes) > 2*f.width {
			return errFax()
		}
		f.changes = append(f.changes, at)
	}
	return nil
}

// relative reads a row that refers to the one above (T.6, and the second kind of row of T.4).
func (f *faxReader) relative() error {
	at, colour, i := -1, 0, 0
	for at < f.width {
		// b1 is the first change above to the right of at to the other colour, b2 the one after it.
		for i > 0 && f.change(i-1) > at {
			i--
		}
		for f.change(i) <= at && f.change(i) < f.width || i%2 != colour {
			i++
		}
		b1, b2 := f.change(i), f.change(i+1)
		code := f.peek(7)
		move := 0
		switch zeros := bits.LeadingZeros8(uint8(code << 1)); {
		case zeros == 0: // 1
			f.at++
		case zeros == 1: // 011 right, 010 left
			f.at += 3
			move = 1
		case zeros == 2: // 001: two runs
			f.at += 3
			from := max(at, 0)
			first, err := f.run(colour)
			if err != nil {
				return err
			}
			second, err := f.run(1 - colour)
			if err != nil {
				return err
			}
			if from+first+second > f.width || len(f.changes) > 2*f.width {
				return errFax()
			}
			at = from + first + second
			f.changes = append(f.changes, from+first, at)
			continue
		case zeros == 3: // 0001: pass
			f.at += 4
			at = b2
			continue
		case zeros == 4: // 000011 right, 000010 left
			f.at += 6
			move = 2
		case zeros == 5: // 0000011 right, 0000010 left
			f.at += 7
			move = 3
		default:
			if f.at+24 > 8*len(f.data) || f.peek(12) == 1 { // the end of the data, or the code for the end
				return io.ErrUnexpectedEOF
			}
			return errFax()
		}
		if f.at > 8*len(f.data) {
			return io.ErrUnexpectedEOF
		}
		if move > 0 && f.data[(f.at-1)/8]>>(7-(f.at-1)%8)&1 == 0 {
			move = -move
		}
		if b1+move < max(at, 0) || b1+move > f.width || len(f.changes) > 2*f.width {
			return errFax()
		}
		at = b1 + move
		f.changes = append(f.changes, at)
		colour = 1 - colour
	}
	return nil
}

// change is where the colour changes above for the i-th time; beyond the last, the width.
func (f *faxReader) change(i int) int {
	if i < len(f.above) {
		return f.above[i]
	}
	return f.width
}

// paint sets the black runs of f.row.
func (f *faxReader) paint() {
	clear(f.row)
	for i := 0; i < len(f.changes); i += 2 {
		to := f.width
		if i+1 < len(f.changes) {
			to = f.changes[i+1]
		}
		for x := f.changes[i]; x < to; {
			if x%8 == 0 && x+8 <= to {
				f.row[x/8] = 0xff
				x += 8
				continue
			}
			f.row[x/8] |= 0x80 >> (x % 8)
			x++
		}
	}
}
