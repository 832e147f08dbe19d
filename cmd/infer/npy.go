package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/goclip/goclip/internal/disk"
)

// npy writes a float32 array (N, D) in NumPy's format (numpy.lib.format, version 1.0) row by row,
// since N is known only at the end: the header has a fixed length and is written again then.
type npy struct {
	*output
	rows, width int
}

const npyHeader = 128

func newNpy(fsys disk.FS, path string, width int) *npy {
	n := &npy{output: newOutput(fsys, path), width: width}
	n.write(n.header())
	return n
}

func (n *npy) header() []byte {
	text := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", n.rows, n.width)
	text += strings.Repeat(" ", npyHeader-10-1-len(text)) + "\n"
	return append([]byte("\x93NUMPY\x01\x00\x76\x00"), text...)
}

func (n *npy) row(values []float32) {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	n.write(b)
	n.rows++
}

func (n *npy) finish() error {
	if n.err == nil {
		n.err = n.w.Flush()
	}
	if n.err == nil {
		_, n.err = n.f.WriteAt(n.header(), 0)
	}
	return n.output.finish()
}
