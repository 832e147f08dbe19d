package torch

/*
#include "../csrc/goclip.h"
#cgo nocallback gc_config
#cgo noescape gc_config
*/
import "C"

import "strings"

// Build describes the libtorch of this process.
type Build struct {
	Version       string // of the library that was loaded, "2.11.0"
	Headers       string // of the headers that goclip was compiled with; the versions must be equal
	CPUCapability string // the kernels that it chose: "DEFAULT", "AVX2", "AVX512"
	OneDNN, MKL   string // the versions inside, "" where it was built without
}

// LibraryBuild asks libtorch (ATen/Version.h, show_config).
func LibraryBuild() Build {
	var text *C.char
	check("config", C.gc_config(&text))
	b := parseBuild(C.GoString(text))
	C.gc_free_message(text)
	b.Headers = C.GoString(C.gc_version())
	return b
}

// parseBuild reads the lines of torch.__config__.show().
func parseBuild(text string) (b Build) {
	after := func(mark, end string) string {
		_, rest, ok := strings.Cut(text, mark)
		if !ok {
			return ""
		}
		rest, _, _ = strings.Cut(rest, end)
		return strings.TrimSpace(rest)
	}
	version, _, _ := strings.Cut(after("TORCH_VERSION=", ","), "\n")
	b.Version = version
	b.CPUCapability = after("CPU capability usage: ", "\n")
	b.OneDNN = after("MKL-DNN v", " ")
	b.MKL = after("Math Kernel Library Version ", "-Product")
	return b
}
