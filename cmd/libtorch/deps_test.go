package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programs makes a directory of shell scripts the only place where programs are found.
func programs(t *testing.T, scripts map[string]string) {
	t.Helper()
	bin := t.TempDir()
	for name, script := range scripts {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	t.Setenv("PATH", bin)
	t.Setenv("CC", "")
	t.Setenv("CXX", "")
}

func TestPackageCommand(t *testing.T) {
	parts := []string{"c++", "make", "jpeg", "venv"}
	for manager, want := range map[string]string{
		"apt-get": "apt-get install -y --no-install-recommends g++ make libjpeg-dev python3-venv",
		"dnf":     "dnf install -y gcc-c++ make libjpeg-turbo-devel python3-pip",
		"pacman":  "a C++17 compiler, make, libjpeg-turbo with its headers, Python 3 with pip",
	} {
		programs(t, map[string]string{manager: ""})
		assert.Equal(t, want, packageCommand(parts))
	}
}

// TestDeps has a system without a compiler: root's apt-get works after its lists came, or not at
// all.
func TestDeps(t *testing.T) {
	t.Chdir(t.TempDir()) // no checkout, where make would be asked for
	const install = "apt-get install -y --no-install-recommends g++"
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("LOG", log)
	const compiles = `echo '#!/bin/true' >"${0%/*}/g++"; /bin/chmod +x "${0%/*}/g++"`
	for _, c := range []struct{ name, apt, want, calls string }{
		{"there", compiles, "the build has what it needs: C++ compiler, libjpeg-turbo, go1.", "install"},
		{"old lists", `[ "$1" = update ] && exit 0; [ "$(/usr/bin/wc -l <"$LOG")" = 1 ] && exit 1; ` + compiles,
			"the build has what it needs", "install update install"},
		{"no network", "echo no route to host; exit 100", "check the network and try: " + install, "install update install"},
		{"nothing done", "exit 0", "still missing: " + install, "install"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if os.Getuid() != 0 {
				t.Skip("only root installs")
			}
			require.NoError(t, os.RemoveAll(log))
			programs(t, map[string]string{"gcc": "exit 0", "apt-get": `echo "$1" >>"$LOG"; ` + c.apt})
			var out bytes.Buffer
			run([]string{"deps"}, &out, &out)
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			assert.Contains(t, lines[len(lines)-1], c.want)
			calls, err := os.ReadFile(log)
			require.NoError(t, err)
			assert.Equal(t, c.calls, strings.Join(strings.Fields(string(calls)), " "))
		})
	}
}

// TestFromPython links to the files of an installed torch package.
func TestFromPython(t *testing.T) {
	b := newBench(t)
	packages := t.TempDir()
	for _, file := range []string{torchFile, runtimeFile} {
		wheel := filepath.Join(t.TempDir(), file)
		require.NoError(t, os.WriteFile(wheel, b.index.files[file], 0o644))
		require.NoError(t, unpack(t.Context(), wheel, packages, func(name string) (string, bool) { return name, true }))
	}
	python := filepath.Join(t.TempDir(), "python")
	require.NoError(t, os.WriteFile(python, []byte("#!/bin/sh\necho "+packages+"/torch\n"), 0o755))
	t.Setenv("PYTHON", python)
	for flag, want := range map[string][]string{
		"--cpu":  {"goclip-libtorch", "include", "lib/libcudart.so.13", "lib/libtorch_cpu.so"},
		"--cuda": {"goclip-libtorch", "include", "lib/libcudart.so.13", "lib/libnvperf_host.so", "lib/libtorch_cpu.so", "lib/libtorch_cuda.so"},
	} {
		prefix := b.prefix + flag
		require.Equal(t, 0, run([]string{"install", "--from-python", flag, "--prefix", prefix}, &b.out, &b.out), b.out.String())
		assert.Equal(t, want, holds(t, prefix))
		assert.Equal(t, "2.11.0", installedVersion(prefix))
	}
	require.NoError(t, os.WriteFile(python, []byte("#!/bin/sh\necho\n"), 0o755))
	b.out.Reset()
	assert.Equal(t, 1, run([]string{"install", "--from-python", "--prefix", b.prefix}, &b.out, &b.out))
	assert.Contains(t, b.out.String(), "has no torch; activate the environment that has torch 2.11.0, or set PYTHON")

	if _, err := exec.LookPath("python3"); err == nil { // a checkout has a directory of that name, which Python takes for a package
		require.NoError(t, os.WriteFile(python, []byte("#!/bin/sh\nexec python3 -S -E \"$@\"\n"), 0o755))
		t.Chdir(t.TempDir())
		require.NoError(t, os.Mkdir("torch", 0o755))
		b.out.Reset()
		assert.Equal(t, 1, run([]string{"install", "--from-python", "--prefix", b.prefix}, &b.out, &b.out))
		assert.Contains(t, b.out.String(), "has no torch; activate the environment that has torch 2.11.0, or set PYTHON")
	}
}
