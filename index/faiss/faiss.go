//go:build faiss

package faiss

// #cgo CXXFLAGS: -std=c++17 -O2 -Wall -fopenmp
// #cgo LDFLAGS: -L${SRCDIR}/../../third_party/libtorch/lib -L/usr/local/libtorch/lib -lfaiss -ltorch_cpu -llapack -lblas -lgomp
// #include <stdlib.h>
// #include "faiss.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"
)

// Built reports whether FAISS is in this program.
const Built = true

// Index is an index of FAISS's. Searches may run side by side; everything else is for one goroutine.
type Index struct {
	c   *C.gf_index
	dim int
}

// Train learns lists centroids, and the range of the codes, from L2-normalised rows (N, dim).
func Train(rows []float32, dim, lists int) (*Index, error) {
	x := &Index{dim: dim}
	err := take(C.gf_train(pointer(rows), C.size_t(len(rows)/dim), C.int32_t(dim), C.int32_t(lists), &x.c))
	runtime.KeepAlive(rows)
	return x, err
}

// Open reads the index at path. Mapped, its codes stay in the file, nothing can be added, and it opens in no time.
func Open(path string, mapped bool) (*Index, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	how := C.int(0)
	if mapped {
		how = 1
	}
	x := &Index{}
	if err := take(C.gf_open(name, how, &x.c)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	x.dim = int(C.gf_dim(x.c))
	return x, nil
}

// Rows returns how many rows were added.
func (x *Index) Rows() int { return int(C.gf_rows(x.c)) }

// Dim returns the length of a row.
func (x *Index) Dim() int { return x.dim }

// Lists returns how many lists there are.
func (x *Index) Lists() int { return int(C.gf_lists(x.c)) }

// Probes returns how many lists a search looks into.
func (x *Index) Probes() int { return int(C.gf_probes(x.c)) }

// SetProbes changes it; Save keeps it.
func (x *Index) SetProbes(n int) { C.gf_set_probes(x.c, C.int32_t(n)) }

// Add adds L2-normalised rows (N, dim) after those that are there.
func (x *Index) Add(rows []float32) error {
	defer runtime.KeepAlive(rows)
	return take(C.gf_add(x.c, pointer(rows), C.size_t(len(rows)/x.dim)))
}

// Search finds for each of the queries (Q, dim) the numbers of k rows, (Q, k), the nearest first by their codes; -1 stands for
// none. permitted has a bit for each row that may be found, the lowest of a byte first; nil permits all.
func (x *Index) Search(queries []float32, k int, permitted []byte) ([]int64, error) {
	n := len(queries) / x.dim
	rows := make([]int64, n*k)
	var mask *C.uint8_t
	if len(permitted) > 0 {
		mask = (*C.uint8_t)(unsafe.Pointer(&permitted[0]))
	}
	err := take(C.gf_search(x.c, pointer(queries), C.size_t(n), C.size_t(k), mask, C.size_t(len(permitted)), (*C.int64_t)(unsafe.Pointer(&rows[0]))))
	return rows, err
}

// Save writes the index; a file that is there is written over.
func (x *Index) Save(path string) error {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	return take(C.gf_save(x.c, name))
}

// Close frees the index.
func (x *Index) Close() {
	C.gf_close(x.c)
	x.c = nil
}

func pointer(rows []float32) *C.float { return (*C.float)(unsafe.Pointer(&rows[0])) }

func take(message *C.char) error {
	if message == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(message))
	return errors.New("faiss: " + C.GoString(message))
}
