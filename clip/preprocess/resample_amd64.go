//go:build cgo

package preprocess

/*
#cgo CFLAGS: -O3
#include "resample_amd64.h"
#include "resample_vnni_amd64.h"
*/
import "C"

import "unsafe"

// unit is the vector unit that the passes run on; zero takes Go's code, which gives the same bytes on any machine.
var unit = int(C.goclip_vector_unit())

// unitVNNI is the unit that has the fused passes besides.
const unitVNNI = C.GOCLIP_VNNI

func bytesAt(b []uint8) *C.uint8_t   { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b))) }
func numbersAt(v []int32) *C.int32_t { return (*C.int32_t)(unsafe.Pointer(unsafe.SliceData(v))) }
func signedAt(v []int8) *C.int8_t    { return (*C.int8_t)(unsafe.Pointer(unsafe.SliceData(v))) }
func floatsAt(v []float32) *C.float  { return (*C.float)(unsafe.Pointer(unsafe.SliceData(v))) }

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

// bandRows is how many rows one call of C makes: some microseconds' worth. Go takes the processor away from a goroutine
// that is in C for longer than 20, which costs more than the call.
const bandRows = 32

// resampleNormalised runs both passes over RGB rows and writes the normalised planes.
func resampleNormalised(b *scratch, dst, norm []float32, p placement, src rows, across, down *quads) {
	ring := grow(&b.lanes, down.most*192*((p.x.count+15)/16))
	var made C.int
	for y := 0; y < p.y.count; y += bandRows {
		made = C.goclip_resample_normalise(floatsAt(dst[(p.padY+y)*p.resW+p.padX:]), C.size_t(p.resW*p.resH),
			C.size_t(p.resW), C.int(min(bandRows, p.y.count-y)), C.int(p.x.count), made, bytesAt(src.pix),
			C.size_t(src.stride), C.int(src.count), signedAt(across.table), numbersAt(across.at), C.int(across.most),
			signedAt(down.table[y*down.most*12:]), numbersAt(down.at[2*y:]), C.int(down.most), bytesAt(ring),
			floatsAt(norm))
	}
}

// normExact reports whether the vector unit normalises every value as table has it.
func normExact(norm []float32, table *normTable) bool {
	return C.goclip_norm_exact(floatsAt(norm), floatsAt(table[0][:])) != 0
}
