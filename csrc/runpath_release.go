//go:build release

package csrc

// Of an archive that may be unpacked anywhere (scripts/release.sh): bin/ has the programs and lib/ the libraries.

// #cgo LDFLAGS: -Wl,-rpath,$ORIGIN/../lib
import "C"
