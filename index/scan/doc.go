// Package scan has the kernels of the exact search: products of a query with rows of float32, and
// bounds of these products from rows of 8 bits, which are a quarter of the bytes.
//
// # Products
//
// [Dots] adds up in one order on every processor: sixteen sums of the numbers i, i+16, i+32 and so
// on by fused multiply-adds, and then the sums of those 8, 4, 2 and 1 apart. A product depends on
// the row and the query alone, to the bit.
//
// # The code of a row
//
// A row x of D numbers is rotated first, y = R x. R changes signs and applies Hadamard's matrix to
// blocks of the largest power of two that divides D; it is orthogonal, so that products stay as
// they are. It spreads the few large numbers that CLIP's features have over a whole block, and the
// step, which the largest number sets, becomes small for all. Then
//
//	s = max|y| / 127, c = round(y / s), e >= |y - s c|
//
// where |.| of a vector is its length. A row's code is s and e as float32, rounded up, and c, each
// number plus 128 in an unsigned byte.
//
// # The bound
//
// A query q is rotated in the same way, p = R q, and kept in 16 bits: t = max|p| / 32639,
// m = round(p / t). With the integer product c.m,
//
//	q.x = p.y = s t c.m + t m.(y - s c) + (p - t m).y
//
// and by Cauchy and Schwarz
//
//	|q.x - s t c.m| <= |t m| e + |p - t m| |y|,  |y| <= 127 s sqrt(D).
//
// A product that was computed in float32, in any order and with fused multiply-adds or without,
// differs from q.x by at most g |q| |x| with g = D u / (1 - D u) and u = 2^-24 (Higham, Accuracy
// and Stability of Numerical Algorithms, 3.1). A row whose upper bound
//
//	s (t c.m + 128 sqrt(D) (|p - t m| + g |q|)) + |t m| e
//
// is below the k-th best computed product is not among the k best. 128 in place of 127, and small
// factors above 1 in the code, are for the rounding of the bound itself, which is computed in
// float64.
//
// m is 256 h + l with h and l in signed bytes, so that c.m is two sums of products of an unsigned
// and a signed byte: VPDPBUSD where the processor has AVX-512 VNNI, VPMADDWD of 16-bit numbers with
// AVX2, and plain C anywhere else. They are integers, and equal.
package scan
