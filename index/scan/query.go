package scan

// #cgo noescape goclip_scan_bounds
// #cgo nocallback goclip_scan_bounds
// #include "kernels.h"
import "C"

import (
	"math"
	"unsafe"
)

// Query is what codes are compared with.
type Query struct {
	dim       int
	high, low []int8 // of m
	offset    int64  // 128 times the sum of m: the bytes of a code are above c by 128
	step      float64
	loose     float64 // 128 sqrt(D) (|p - t m| + g |q|)
	norm      float64 // |t m|
}

// NewQuery takes a query of finite numbers.
func NewQuery(q []float32) *Query {
	p, norm := rotated(q)
	out := &Query{dim: len(q), high: make([]int8, len(q)), low: make([]int8, len(q)), step: 1}
	if most := maxAbs(p); most > 0 {
		out.step = most / 32639 // 256*127 + 127
	}
	rest, squares := 0.0, 0.0
	for i, v := range p {
		m := math.RoundToEven(v / out.step)
		h := (int(m) + 128) >> 8
		out.high[i], out.low[i] = int8(h), int8(int(m)-256*h)
		out.offset += 128 * int64(m)
		rest += (v - out.step*m) * (v - out.step*m)
		squares += m * m
	}
	d := float64(len(q))
	g := d * 0x1p-24 / (1 - d*0x1p-24)
	out.loose = 128 * math.Sqrt(d) * (math.Sqrt(rest) + (g+slack)*norm) * (1 + 1e-6)
	out.norm = out.step * math.Sqrt(squares) * (1 + 1e-9)
	if !(norm <= largest) {
		out.loose = math.Inf(1) // nothing is excluded
	}
	return out
}

// Bounds finds the codes whose products with the query may be at least least: it writes their
// positions to at and their upper bounds to bounds, which have room for all of them, and tells how
// many there are.
func (q *Query) Bounds(codes []byte, least float64, at []uint32, bounds []float64) int {
	n := len(codes) / Size(q.dim)
	if n == 0 {
		return 0
	}
	least -= float64(q.dim) * 0x1p-125 // products that underflow
	_, _ = at[n-1], bounds[n-1]
	return int(C.goclip_scan_bounds(unit, (*C.uint8_t)(unsafe.SliceData(codes)), C.size_t(q.dim), C.size_t(n),
		(*C.int8_t)(unsafe.SliceData(q.high)), (*C.int8_t)(unsafe.SliceData(q.low)), C.int64_t(q.offset),
		C.double(q.step), C.double(q.loose), C.double(q.norm), C.double(least),
		(*C.uint32_t)(unsafe.SliceData(at)), (*C.double)(unsafe.SliceData(bounds))))
}
