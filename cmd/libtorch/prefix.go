package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// stampName is the file that this program leaves in what it installs: version, kind and source.
const stampName = "goclip-libtorch"

var versionPart = regexp.MustCompile(`(?m)^#define TORCH_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)`)

// installedVersion is the version of the libtorch in dir, or "". It reads what all ways of shipping
// one have.
func installedVersion(dir string) string {
	if !exists(filepath.Join(dir, "lib", "libtorch_cpu.so")) {
		return ""
	}
	for _, name := range []string{"torch/headeronly/version.h", "torch/csrc/api/include/torch/version.h"} {
		text, err := os.ReadFile(filepath.Join(dir, "include", name))
		if err != nil {
			continue
		}
		var parts []string
		for _, m := range versionPart.FindAllSubmatch(text, 3) {
			parts = append(parts, string(m[1]))
		}
		return strings.Join(parts, ".")
	}
	return ""
}

// kindOf is "cuda" if the libtorch in dir has CUDA's libraries, else "cpu".
func kindOf(dir string) string {
	if exists(filepath.Join(dir, "lib", "libtorch_cuda.so")) {
		return "cuda"
	}
	return "cpu"
}

// checkReplaceable fails if prefix holds what this program did not put there.
func checkReplaceable(prefix string) error {
	info, err := os.Lstat(prefix)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is a file; move it away, or choose another --prefix", prefix)
	}
	entries, err := os.ReadDir(prefix)
	if err != nil {
		return err
	}
	if len(entries) == 0 || exists(filepath.Join(prefix, stampName)) {
		return nil
	}
	if found := installedVersion(prefix); found != "" {
		return fmt.Errorf("%s holds libtorch %s, which this program did not install; move it away, or choose another --prefix", prefix, found)
	}
	return fmt.Errorf("%s holds something else than libtorch; choose a new directory with --prefix", prefix)
}

// makeParent makes the directory that holds prefix, and removes what an install that was killed
// left there.
func makeParent(prefix string) error {
	parent := filepath.Dir(prefix)
	if err := os.MkdirAll(parent, 0o755); err != nil || !writable(parent) {
		return fmt.Errorf("%s cannot be written; install elsewhere with --prefix (goclip also looks in %s)", parent, systemPrefix)
	}
	left, _ := filepath.Glob(prefix + ".new.*")
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// stagedPath is where an install is put together, beside the prefix whose place it then takes.
func stagedPath(prefix string) string { return fmt.Sprintf("%s.new.%d", prefix, os.Getpid()) }

// replace puts the staged directory (or link) at prefix; what was there goes only when the new one
// stands.
func replace(staged, prefix string) error {
	old := fmt.Sprintf("%s.old.%d", prefix, os.Getpid())
	had := os.Rename(prefix, old) == nil
	if err := os.Rename(staged, prefix); err != nil {
		if had {
			err = errors.Join(err, os.Rename(old, prefix))
		}
		return fmt.Errorf("%s could not be put in place: %w", prefix, err)
	}
	return os.RemoveAll(old)
}

// finish checks the staged install, stamps it and puts it in place. Only an install for here, this
// machine, is loaded on trial.
func (c *console) finish(ctx context.Context, staged, prefix, kind, source string, here bool) error {
	if found := installedVersion(staged); found != version {
		if found == "" {
			found = "of an unknown version"
		}
		return fmt.Errorf("what was unpacked is libtorch %s, not %s", found, version)
	}
	if here {
		if err := checkLoads(ctx, filepath.Join(staged, "lib")); err != nil {
			return err
		}
	}
	stamp := fmt.Sprintf("version=%s\nkind=%s\nsource=%s\n", version, kind, source)
	if err := os.WriteFile(filepath.Join(staged, stampName), []byte(stamp), 0o644); err != nil {
		return err
	}
	if err := replace(staged, prefix); err != nil {
		return err
	}
	c.say("libtorch %s (%s) is in %s, %d MB", version, kind, prefix, megabytes(prefix))
	return c.sayHowFound(prefix)
}

// megabytes is the size of what a directory holds and links to.
func megabytes(dir string) int64 {
	var bytes int64
	for _, name := range []string{"lib", "include"} {
		root, err := filepath.EvalSymlinks(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				bytes += info.Size()
			}
			return nil
		})
	}
	return bytes / 1e6
}

var notFound = regexp.MustCompile(`(?m)^\s*(\S+) => not found`)

// checkLoads fails unless the dynamic loader finds all that the libraries in dir need, as it will
// for a program.
func checkLoads(ctx context.Context, dir string) error {
	for _, library := range []string{"libtorch_cpu.so", "libtorch_cuda.so"} {
		path := filepath.Join(dir, library)
		if !exists(path) {
			continue
		}
		ldd := exec.CommandContext(ctx, "ldd", path)
		ldd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "LD_LIBRARY_PATH=") })
		out, err := ldd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s cannot be loaded on this system: it is damaged, or for another machine", path)
		}
		var missing []string
		for _, m := range notFound.FindAllSubmatch(out, -1) {
			missing = append(missing, string(m[1]))
		}
		if slices.Sort(missing); len(missing) > 0 {
			return fmt.Errorf("%s needs %s, not found beside it nor on this system", path, strings.Join(slices.Compact(missing), " "))
		}
	}
	return nil
}
