package goclip_test

import (
	"cmp"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBuildWithoutLibtorch builds where libtorch is missing, or another version: one sentence says
// what to run, and nothing else is printed.
func TestBuildWithoutLibtorch(t *testing.T) {
	if _, err := os.Stat("/usr/local/libtorch"); err == nil {
		t.Skip("there is a libtorch in /usr/local/libtorch")
	}
	root, err := os.Getwd()
	require.NoError(t, err)
	const run = "run `make libtorch` in a checkout of goclip, or `go run github.com/goclip/goclip/cmd/libtorch@latest install` anywhere else\n"
	const version = "include/torch/headeronly/version.h"
	const missing = "# github.com/goclip/goclip/csrc\ngoclip: error: libtorch 2.11.0 is missing: " + run
	for _, c := range []struct {
		name  string
		there map[string]string // of third_party/libtorch
		want  string
	}{
		{"nothing", nil, missing},
		{"headers alone", map[string]string{version: "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n"}, missing},
		{"library alone", map[string]string{"lib/libtorch_cpu.so": ""}, missing},
		{"another version", map[string]string{"lib/libtorch_cpu.so": "", version: "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 8\n"},
			"# github.com/goclip/goclip/csrc\ngoclip: error: this libtorch is not 2.11: " + run},
	} {
		t.Run(c.name, func(t *testing.T) {
			sources := filepath.Join(t.TempDir(), "goclip")
			copySources(t, root, sources)
			for name, text := range c.there {
				path := filepath.Join(sources, "third_party", "libtorch", name)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			}
			build := exec.Command("go", "build", "./torch/...", "./clip/tokenizer")
			build.Dir = sources
			build.Env = append(os.Environ(), "CGO_CPPFLAGS=", "GOWORK=off")
			out, err := build.CombinedOutput()
			require.Error(t, err)
			assert.Equal(t, c.want, sentence(out))
		})
	}
}

// sentence is what go build printed, without the line and column, which compilers count
// differently.
func sentence(out []byte) string {
	return regexp.MustCompile(`(?m)^goclip:[0-9:]+`).ReplaceAllString(string(out), "goclip:")
}

// TestBuildWithoutLibjpeg has a compiler that finds all headers but jpeglib.h.
func TestBuildWithoutLibjpeg(t *testing.T) {
	const system = "/usr/include"
	headers, err := os.ReadDir(system)
	if _, missing := os.Stat(filepath.Join(system, "jpeglib.h")); err != nil || missing != nil {
		t.Skip("jpeglib.h is not in " + system)
	}
	dir := t.TempDir()
	for _, h := range headers {
		if h.Name() != "jpeglib.h" {
			require.NoError(t, os.Symlink(filepath.Join(system, h.Name()), filepath.Join(dir, h.Name())))
		}
	}
	cc := filepath.Join(t.TempDir(), "cc")
	script := "#!/bin/sh\nexec gcc -nostdinc -isystem \"$(gcc -print-file-name=include)\" -isystem " + dir +
		" -isystem " + dir + "/\"$(gcc -print-multiarch)\" \"$@\"\n"
	require.NoError(t, os.WriteFile(cc, []byte(script), 0o755))
	build := exec.Command("go", "build", "./clip/preprocess")
	build.Env = append(os.Environ(), "CC="+cc)
	out, err := build.CombinedOutput()
	require.Error(t, err)
	assert.Equal(t, "# github.com/goclip/goclip/clip/preprocess\ngoclip: error: libjpeg-turbo's header jpeglib.h is missing: "+
		"install libjpeg-dev (Debian, Ubuntu) or libjpeg-turbo-devel (Fedora), or build with -tags nojpegturbo, which decodes JPEG in Go\n", sentence(out))
}

// copySources copies what a module archive would hold, without write permission.
func copySources(t *testing.T, from, to string) {
	t.Helper()
	notOurs := []string{".git", "third_party", "build", "bin", "logs", "testdata", "data"}
	require.NoError(t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(from, path)
		switch {
		case slices.Contains(notOurs, name):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil // a link
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o444)
	}))
}

// linkLibtorch gives the installed libtorch a place where the build does not look by itself.
func linkLibtorch(t *testing.T, root string) string {
	t.Helper()
	prefix := filepath.Join(root, "third_party", "libtorch")
	if _, err := os.Stat(prefix); err != nil {
		prefix = "/usr/local/libtorch"
	}
	elsewhere := filepath.Join(t.TempDir(), "libtorch")
	require.NoError(t, os.Symlink(prefix, elsewhere))
	return elsewhere
}

// TestTagsAreVetted: a test under a build tag that nothing compiles stops compiling unseen. cuda and
// faiss need headers that few machines have.
func TestTagsAreVetted(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	vetted := strings.Fields(string(regexp.MustCompile(`(?m)^TAGS := (.*)$`).FindSubmatch(makefile)[1]))
	tag := regexp.MustCompile(`(?m)^//go:build (\w+)$`)
	seen := map[string]bool{}
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && slices.Contains([]string{"third_party", "build", ".git"}, path) {
			return cmp.Or(err, fs.SkipDir)
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if found := tag.FindSubmatch(text); found != nil && !slices.Contains([]string{"cuda", "faiss", "unix", "amd64", "cgo"}, string(found[1])) {
			seen[string(found[1])] = true
		}
		return err
	}))
	assert.ElementsMatch(t, slices.Collect(maps.Keys(seen)), vetted)
}
