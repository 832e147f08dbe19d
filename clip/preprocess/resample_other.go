//go:build !amd64 || !cgo

package preprocess

// unit is zero where Go's own code runs the passes.
var unit = 0

// unitVNNI is the unit that has the fused passes.
const unitVNNI = 3

func acrossVectors(*scratch, rows, rows, *weights, int, int) {}

func downVectors(rows, rows, *weights, int) {}

func resampleNormalised(*scratch, []float32, []float32, placement, rows, *quads, *quads) {}

func normExact([]float32, *normTable) bool { return false }
