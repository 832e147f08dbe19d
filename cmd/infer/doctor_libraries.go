package main

import (
	"bufio"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// library is a shared library that the process has loaded.
type library struct {
	Path    string `json:"path"`
	Version string `json:"version,omitempty"` // where the file or its name tells one
}

// versionIn finds the version in a library's bytes; the names of the others' files end with theirs.
var versionIn = map[string]*regexp.Regexp{
	"libjpeg.so": regexp.MustCompile(`libjpeg-turbo version (\d[\w.]*)`),
	"libc.so":    regexp.MustCompile(`stable release version (\d[\w.]*\d)`),
}

// checkLibraries reads what the dynamic loader has mapped, which LD_LIBRARY_PATH or a run path may
// have made other than one thinks.
func (d *diagnosis) checkLibraries(machine fs.FS) {
	paths, err := loaded(machine)
	if err != nil {
		d.warn("the loaded libraries cannot be told: %v: mount /proc", err)
		return
	}
	var openMP []string
	for _, p := range paths {
		l := library{Path: p, Version: libraryVersion(machine, p, d.Libtorch.Version)}
		d.Libraries = append(d.Libraries, l)
		switch name, _, _ := strings.Cut(path.Base(p), ".so"); {
		case strings.HasPrefix(name, "libgomp"), strings.HasPrefix(name, "libiomp"), strings.HasPrefix(name, "libomp"):
			openMP = append(openMP, p)
		case name == "libjpeg" && l.Version == "":
			d.warn("%s is not libjpeg-turbo, with which images are decoded several times faster: install libjpeg62-turbo, or libjpeg-turbo where it is called so", p)
		}
	}
	if len(openMP) > 1 {
		d.wrong("two OpenMP runtimes are loaded (%s), whose threads take each other's CPUs: unset LD_PRELOAD and LD_LIBRARY_PATH", strings.Join(openMP, ", "))
	}
}

// loaded are the files of the libraries in /proc/self/maps, each once, in order.
func loaded(machine fs.FS) (paths []string, err error) {
	f, err := machine.Open("proc/self/maps")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		_, p, ok := strings.Cut(lines.Text(), "/")
		p = strings.TrimSuffix("/"+p, " (deleted)")
		if base := path.Base(p); ok && (strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.")) && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// libraryVersion is found in the bytes of some, and in the name of others: libstdc++.so.6.0.30.
// Those of libtorch have libtorch's.
func libraryVersion(machine fs.FS, p, torchVersion string) string {
	name, number, _ := strings.Cut(path.Base(p), ".so")
	if strings.HasPrefix(name, "libtorch") || strings.HasPrefix(name, "libc10") {
		return torchVersion
	}
	if pattern, ok := versionIn[name+".so"]; ok {
		data, err := fs.ReadFile(machine, strings.TrimPrefix(p, "/"))
		if found := pattern.FindSubmatch(data); err == nil && found != nil {
			return string(found[1])
		}
		return ""
	}
	if number = strings.TrimPrefix(number, "."); strings.Contains(number, ".") {
		return number
	}
	return "" // the number of an interface
}
