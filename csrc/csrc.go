// Package csrc is the C++ of goclip: a small C ABI over libtorch (goclip.h), compiled by cgo.
//
// Only packages torch and torch/distributed use it, through the header. Its Go files hardly ever change, because cgo
// recompiles a package's C++ whenever one of them does. The flags stand here, but for the run path: libtorch is looked for in third_party/libtorch beside the checkout and in /usr/local/libtorch; `scripts/install_libtorch.sh
// --print-env` prints the environment for any other place.
package csrc

// #cgo CXXFLAGS: -std=c++17 -O2 -Wall -Wno-deprecated-declarations -DUSE_C10D_GLOO -I${SRCDIR}
// #cgo CXXFLAGS: -isystem ${SRCDIR}/../third_party/libtorch/include -isystem /usr/local/libtorch/include
// #cgo CXXFLAGS: -isystem ${SRCDIR}/../third_party/libtorch/include/torch/csrc/api/include
// #cgo CXXFLAGS: -isystem /usr/local/libtorch/include/torch/csrc/api/include
// #cgo LDFLAGS: -L${SRCDIR}/../third_party/libtorch/lib -L/usr/local/libtorch/lib
// #cgo LDFLAGS: -Wl,-rpath-link,${SRCDIR}/../third_party/libtorch/lib -Wl,-rpath-link,/usr/local/libtorch/lib
// #cgo LDFLAGS: -ltorch_cpu -lc10 -ldl
import "C"
