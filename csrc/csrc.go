// Package csrc is the C++ of goclip: a small C ABI over libtorch (goclip.h), compiled by cgo.
//
// Only packages torch and torch/distributed use it, through the header. Its Go files hardly ever
// change, because cgo recompiles a package's C++ whenever one of them does. The flags stand here,
// but for the run path: libtorch is looked for in third_party/libtorch beside the checkout and in
// /usr/local/libtorch; `cmd/libtorch env` prints the environment for any other place.
package csrc

// cgo reads the preamble once, before it compiles any C++, so that is where one sentence says what
// is wrong with libtorch. Compilers quote the line of an error; #line names a file that they cannot
// open, so that they print the sentence alone.

// #cgo CPPFLAGS: -isystem ${SRCDIR}/../third_party/libtorch/include -isystem /usr/local/libtorch/include
// #cgo CPPFLAGS: -isystem ${SRCDIR}/../third_party/libtorch/include/torch/csrc/api/include
// #cgo CPPFLAGS: -isystem /usr/local/libtorch/include/torch/csrc/api/include
// #cgo CXXFLAGS: -std=c++17 -O2 -Wall -Wno-deprecated-declarations -DUSE_C10D_GLOO -I${SRCDIR}
// #cgo amd64 CXXFLAGS: -fopenmp
// #cgo amd64 LDFLAGS: -l:libgomp.so.1
// #cgo LDFLAGS: -L${SRCDIR}/../third_party/libtorch/lib -L/usr/local/libtorch/lib
// #cgo LDFLAGS: -Wl,-rpath-link,${SRCDIR}/../third_party/libtorch/lib -Wl,-rpath-link,/usr/local/libtorch/lib
// #cgo LDFLAGS: -ltorch_cpu -lc10 -ldl
// #if !__has_include(<torch/headeronly/version.h>) || !__has_include(<../lib/libtorch_cpu.so>)
// #line 1 "goclip"
// #pragma GCC error "libtorch 2.11.0 is missing: run `make libtorch` in a checkout of goclip, or `go run github.com/goclip/goclip/cmd/libtorch@latest install` anywhere else"
// #else
// #include <torch/headeronly/version.h>
// #if TORCH_VERSION_MAJOR != 2 || TORCH_VERSION_MINOR != 11
// #line 1 "goclip"
// #pragma GCC error "this libtorch is not 2.11: run `make libtorch` in a checkout of goclip, or `go run github.com/goclip/goclip/cmd/libtorch@latest install` anywhere else"
// #endif
// #endif
import "C"
