package index

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/x448/float16"
)

// Storages are how an index may keep its vectors: as the model makes them, or rounded to half
// precision, which takes half of the room. Scores are then those of the rounded vectors.
const (
	Float32 = "float32"
	Float16 = "float16"
)

// checkStorage says what is wrong with a storage; "" is none.
func checkStorage(s string) error {
	if s != "" && s != Float32 && s != Float16 {
		return fmt.Errorf("index: the storage %q: must be %s or %s", s, Float32, Float16)
	}
	return nil
}

// maxHalf is the largest number of half precision.
const maxHalf = 65504

// appendHalf appends a row in half precision, little-endian, and gives the numbers that it then has.
func appendHalf(data []byte, row []float32) ([]byte, []float32) {
	rounded := make([]float32, len(row))
	for i, x := range row {
		h := float16.Fromfloat32(x)
		data, rounded[i] = binary.LittleEndian.AppendUint16(data, h.Bits()), h.Float32()
	}
	return data, rounded
}

// decode makes numbers of a file's rows; out has the length.
func (m *mapping) decode(out []float32, data []byte) {
	for i := range out {
		if m.half {
			out[i] = float16.Frombits(binary.LittleEndian.Uint16(data[2*i:])).Float32()
		} else {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	}
}
