package main

import (
	"archive/zip"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed libtorch.sums
var sums string

// wheel is a line of libtorch.sums.
type wheel struct {
	machine, kinds, name, file, sum string
	bytes, cpuMB, cudaMB            int64
}

// pinned lists the wheels of libtorch.sums.
func pinned() []wheel {
	var wheels []wheel
	for line := range strings.Lines(sums) {
		var w wheel
		if n, _ := fmt.Sscan(line, &w.machine, &w.kinds, &w.name, &w.file, &w.sum, &w.bytes, &w.cpuMB, &w.cudaMB); n == 8 {
			wheels = append(wheels, w)
		}
	}
	return wheels
}

// fromWheels fetches and unpacks the wheels of this machine and kind.
func fromWheels(ctx context.Context, c *console, wheels []wheel, prefix, machine string, cuda bool) error {
	wheels = slices.DeleteFunc(wheels, func(w wheel) bool {
		return w.machine != machine || !slices.Contains(strings.Split(w.kinds, ","), kindName(cuda))
	})
	from := source{console: c, cache: cachePath(), wheels: os.Getenv("GOCLIP_WHEELS")}
	var fetch, keep int64
	for _, w := range wheels {
		if cuda {
			keep += w.cudaMB
		} else {
			keep += w.cpuMB
		}
		if !isDir(from.wheels) && !exists(filepath.Join(from.cache, w.file)) {
			fetch += w.bytes - sizeOf(filepath.Join(from.cache, w.file+".part"))
		}
	}
	if err := makeParent(prefix); err != nil {
		return err
	}
	if err := checkSpace(ctx, filepath.Dir(prefix), keep, "libtorch for "+strings.ToUpper(kindName(cuda)), "--prefix"); err != nil {
		return err
	}
	if fetch > 0 {
		if err := checkSpace(ctx, from.cache, fetch/1e6, "the download", "XDG_CACHE_HOME"); err != nil {
			return err
		}
	}
	unlock, err := c.openCache(ctx, from.cache)
	if err != nil {
		return err
	}
	defer unlock()
	staged := stagedPath(prefix)
	defer os.RemoveAll(staged)
	for _, w := range wheels {
		file, err := from.fetch(ctx, w)
		if err != nil {
			return err
		}
		err = unpack(ctx, file, staged, func(name string) (string, bool) { return target(name, cuda) })
		if err != nil {
			return err
		}
	}
	here, err := checkPlatform(ctx)
	if err != nil {
		return err
	}
	return c.finish(ctx, staged, prefix, kindName(cuda), "wheel", here == machine)
}

// Of the wheels' libraries, those of Python, and libtorch.so, which only pulls in the rest, are of
// no use here.
var (
	libraries = regexp.MustCompile(`^(torch|nvidia/[^/]+)/lib/[^/]*\.so[^/]*$`)
	notOurs   = regexp.MustCompile(`^(libtorch_python\.so|libtorch\.so|libshm|libtorch_global_deps\.so)`)
	notCPU    = regexp.MustCompile(`^(libtorch_cuda|libc10_cuda\.so|libcaffe2_nvrtc\.so|libtorch_nvshmem\.so)`)
	ofNVIDIA  = regexp.MustCompile(`^(libcudart|libcupti)\.so`) // which libtorch_cpu.so needs
	licence   = regexp.MustCompile(`^([^/]+)\.dist-info/(.*(?:LICENSE|License|NOTICE).*)$`)
)

// target is where a member of a wheel goes in an install. All libraries lie in one directory: each
// finds its neighbours through $ORIGIN, which ends all of their run paths.
func target(name string, cuda bool) (string, bool) {
	base := path.Base(name)
	switch {
	case strings.HasPrefix(name, "torch/include/"):
		return strings.TrimPrefix(name, "torch/"), true
	case libraries.MatchString(name):
		ours := !notOurs.MatchString(base)
		if !cuda {
			ours = ours && !notCPU.MatchString(base) && (strings.HasPrefix(name, "torch/") || ofNVIDIA.MatchString(base))
		}
		return "lib/" + base, ours
	}
	if m := licence.FindStringSubmatch(name); m != nil {
		return "licenses/" + m[1] + "/" + m[2], true
	}
	return "", false
}

// unpack writes the members of a zip file that have a target into dir.
func unpack(ctx context.Context, file, dir string, target func(name string) (string, bool)) (err error) {
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s cannot be unpacked into %s (the disk is full, or the file is damaged): %w", file, filepath.Dir(dir), err)
		}
	}()
	archive, err := zip.OpenReader(file)
	if err != nil {
		return err
	}
	defer archive.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // so that no name leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	for _, member := range archive.File {
		name, ok := target(member.Name)
		if !ok || strings.HasSuffix(member.Name, "/") {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := unpackMember(root, member, name); err != nil {
			return fmt.Errorf("%s: %w", member.Name, err)
		}
	}
	return nil
}

func unpackMember(root *os.Root, member *zip.File, name string) error {
	in, err := member.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
