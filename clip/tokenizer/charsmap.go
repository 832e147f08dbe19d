package tokenizer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// charsmap is sentencepiece's precompiled_charsmap: a double-array trie (darts-clone) from texts to their replacements,
// which are NUL-terminated. The trie's length in bytes comes first, then its units, then the replacements; numbers are
// little-endian.
type charsmap struct {
	units        []uint32
	replacements []byte
}

const (
	maxCharsmap    = 4 << 20 // nmt_nfkc is 0.24 MiB
	maxReplacement = 1 << 10 // the longest of NFKC is 33 bytes
)

func newCharsmap(blob []byte) (*charsmap, error) {
	if len(blob) == 0 {
		return &charsmap{}, nil
	}
	if len(blob) > maxCharsmap {
		return nil, fmt.Errorf("precompiled_charsmap has %d bytes; at most %d are read", len(blob), maxCharsmap)
	}
	if len(blob) < 4 {
		return nil, errors.New("precompiled_charsmap ends before its trie")
	}
	size := uint64(binary.LittleEndian.Uint32(blob))
	if size%4 != 0 || size > uint64(len(blob)-4) {
		return nil, fmt.Errorf("precompiled_charsmap says that its trie has %d bytes, and %d follow", size, len(blob)-4)
	}
	c := &charsmap{make([]uint32, size/4), blob[4+size:]}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(blob[4+4*i:])
	}
	for text := range bytes.SplitSeq(c.replacements, []byte{0}) {
		if len(text) > maxReplacement {
			return nil, fmt.Errorf("precompiled_charsmap holds a replacement of %d bytes; at most %d are read", len(text), maxReplacement)
		}
	}
	return c, nil
}

// longest replaces the longest text of the map that text begins with; n is its length, or 0.
func (c *charsmap) longest(text string) (to string, n int) {
	if len(c.units) == 0 {
		return "", 0
	}
	unit := c.units[0]
	at := offset(unit)
	found := uint32(0)
	for i := range len(text) {
		at ^= uint32(text[i])
		if int(at) >= len(c.units) {
			break
		}
		if unit = c.units[at]; unit&(1<<31|0xff) != uint32(text[i]) { // the label; a leaf has bit 31
			break
		}
		at ^= offset(unit)
		if unit>>8&1 == 1 && int(at) < len(c.units) { // a text ends here
			if value := c.units[at] &^ (1 << 31); int(value) < len(c.replacements) {
				found, n = value, i+1
			}
		}
	}
	if n == 0 {
		return "", 0
	}
	replacement, _, _ := bytes.Cut(c.replacements[found:], []byte{0})
	return string(replacement), n
}

// offset is where a unit's children stand, to be combined with their labels by exclusive or.
func offset(unit uint32) uint32 { return unit >> 10 << (unit >> 6 & 8) }
