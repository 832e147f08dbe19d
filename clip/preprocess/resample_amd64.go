//go:build cgo

package preprocess

/*
#cgo CFLAGS: -O3
#include "resample_amd64.h"
*/
import "C"

import "unsafe"

// unit is the vector unit that the passes run on; zero takes Go's code, which gives the same bytes on any machine.
var unit = int(C.goclip_vector_unit())

func bytesAt(b []uint8) *C.uint8_t   { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b))) }
func numbersAt(v []int32) *C.int32_t { return (*C.int32_t)(unsafe.Pointer(unsafe.SliceData(v))) }

// acrossVectors is the horizontal pass on the vector unit.
func acrossVectors(b *scratch, dst, src rows, w *weights, left, n int) {
	cols := src.length / n
	taps := w.widest()
	lanes := grow(&b.lanes, 16*(cols+taps))
	C.goclip_across(C.int(unit), bytesAt(dst.pix), C.size_t(dst.stride), bytesAt(src.pix), C.size_t(src.stride),
		C.int(src.count), C.int(cols), C.int(n), numbersAt(w.first), C.int(left), numbersAt(w.fixed), C.int(w.stride),
		C.int(taps), C.int(len(w.first)), bytesAt(lanes))
}

// downVectors is the vertical pass on the vector unit.
func downVectors(dst, src rows, w *weights, top int) {
	C.goclip_down(C.int(unit), bytesAt(dst.pix), C.size_t(dst.stride), bytesAt(src.pix), C.size_t(src.stride),
		C.size_t(src.length), numbersAt(w.first), numbersAt(w.n), C.int(top), numbersAt(w.fixed), C.int(w.stride),
		C.int(dst.count))
}
