//go:build !amd64 || !cgo

package preprocess

// unit is zero where Go's own code runs the passes.
var unit = 0

func acrossVectors(*scratch, rows, rows, *weights, int, int) {}

func downVectors(rows, rows, *weights, int) {}
