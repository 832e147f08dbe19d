package scan

// #cgo CFLAGS: -O3 -std=c11 -Wall
// #cgo LDFLAGS: -lm
// #cgo noescape goclip_scan_dots
// #cgo nocallback goclip_scan_dots
// #include "kernels.h"
import "C"

import "unsafe"

// unit is the best vector unit of this processor.
var unit = C.goclip_scan_unit()

// Dots are the products of a query (D) with rows (n, D), those at the positions at, or all of them
// if at is nil. out has room for them.
func Dots(out, query, rows []float32, at []uint32) {
	n := len(at)
	if at == nil {
		n = len(rows) / len(query)
	}
	if n == 0 {
		return
	}
	_ = out[n-1]
	C.goclip_scan_dots(unit, pointer(rows), C.size_t(len(query)), (*C.uint32_t)(unsafe.SliceData(at)), C.size_t(n), pointer(query), pointer(out))
}

func pointer(x []float32) *C.float { return (*C.float)(unsafe.SliceData(x)) }
