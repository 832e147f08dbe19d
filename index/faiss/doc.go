// Package faiss searches vectors approximately with FAISS, in process: inverted lists of product codes (IVFPQ; Jegou, Douze
// and Schmid 2011), a byte for four numbers. It is compiled with the build tag faiss alone, and then needs Debian's libfaiss-dev; without the tag [Built] is false and
// nothing can be opened.
//
// FAISS's products run on the BLAS inside libtorch_cpu, which is linked first; what LAPACK it has besides is Debian's.
package faiss

import "errors"

// ErrNotBuilt is every function's error in a program that was built without the tag.
var ErrNotBuilt = errors.New("this program was built without FAISS: make build-faiss")
