//go:build !release

package csrc

// #cgo LDFLAGS: -Wl,-rpath,${SRCDIR}/../third_party/libtorch/lib -Wl,-rpath,/usr/local/libtorch/lib
import "C"
