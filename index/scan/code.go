package scan

import (
	"encoding/binary"
	"math"
)

// head is s and e, before the D bytes of c.
const head = 8

// Size returns how many bytes the code of a row of dim numbers takes.
func Size(dim int) int { return head + dim }

// largest is the number beyond which nothing is excluded: a row that has such a number, or NaN, has
// an infinite e.
const largest = 1e18

// slack is relative to a vector's length, and far above the error of rotating it in float64.
const slack = 1e-12

// Append appends the code of a row.
func Append(code []byte, row []float32) []byte {
	y, norm := rotated(row)
	most := maxAbs(y)
	if !(most <= largest) {
		code = binary.LittleEndian.AppendUint32(code, 0)
		code = binary.LittleEndian.AppendUint32(code, math.Float32bits(float32(math.Inf(1))))
		return append(code, make([]byte, len(row))...)
	}
	step := up(most / 127)
	s, rest := float64(step), 0.0
	from := len(code)
	code = append(code, make([]byte, head)...)
	for _, v := range y {
		c := 0.0
		if s > 0 {
			c = math.RoundToEven(v / s)
		}
		rest += square(v - float64(s*c)) // a conversion keeps Go from fusing, so that every processor makes the same code
		code = append(code, byte(int(c)+128))
	}
	binary.LittleEndian.PutUint32(code[from:], math.Float32bits(step))
	binary.LittleEndian.PutUint32(code[from+4:], math.Float32bits(up(float64(math.Sqrt(rest)*(1+1e-9))+float64(slack*norm))))
	return code
}

func square(v float64) float64 { return float64(v * v) }

// up is the smallest float32 that is not below v.
func up(v float64) float32 {
	f := float32(v)
	if float64(f) < v {
		f = math.Nextafter32(f, float32(math.Inf(1)))
	}
	return f
}

// rotated is R x, and the length of x.
func rotated(x []float32) (y []float64, norm float64) {
	y = make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
		norm += square(y[i])
		if uint64(i+1)*0x9e3779b97f4a7c15>>63 == 1 { // signs that look random, the same for ever
			y[i] = -y[i]
		}
	}
	block := len(x) & -len(x)
	scale := 1 / math.Sqrt(float64(block))
	for from := 0; from < len(y); from += block {
		hadamard(y[from : from+block])
	}
	for i := range y {
		y[i] *= scale
	}
	return y, math.Sqrt(norm)
}

// hadamard multiplies by the matrix of signs, in place; the length is a power of two.
func hadamard(y []float64) {
	for half := 1; half < len(y); half *= 2 {
		for from := 0; from < len(y); from += 2 * half {
			a, b := y[from:from+half], y[from+half:from+2*half]
			for i, v := range a {
				a[i], b[i] = v+b[i], v-b[i]
			}
		}
	}
}

// maxAbs is NaN if a number is.
func maxAbs(y []float64) (most float64) {
	for _, v := range y {
		most = max(most, math.Abs(v))
	}
	return most
}
