package goclip_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestInstallRefusals runs scripts/install_libtorch.sh where it cannot install: one sentence, the exit status, nothing
// left behind. Programs named in stubs print the given text in place of the system's.
func TestInstallRefusals(t *testing.T) {
	caches, err := exec.Command("go", "env", "-json", "GOCACHE", "GOMODCACHE").Output()
	require.NoError(t, err)
	var goCaches map[string]string // the tests' home is another
	require.NoError(t, json.Unmarshal(caches, &goCaches))
	for _, c := range []struct {
		name   string
		stubs  map[string]string
		env    []string
		args   []string
		status int
		want   string
	}{
		{"architecture", map[string]string{"uname": `[ "$1" = -m ] && echo riscv64 || echo Linux`}, nil, nil, 1,
			"this machine is riscv64; libtorch 2.11.0 exists for x86_64 and aarch64"},
		{"system", map[string]string{"uname": "echo Darwin"}, nil, nil, 1, "this is Darwin; goclip's libtorch is for Linux"},
		{"glibc", map[string]string{"getconf": "echo glibc 2.17"}, nil, nil, 1, "this system has glibc 2.17; libtorch 2.11.0 needs 2.28 or newer"},
		{"disk", map[string]string{"df": "echo header; echo none 100 50 50000 50% /"}, nil, nil, 1, "which has 48 MB free; free some space"},
		{"network", nil, []string{"PIP_INDEX_URL=http://127.0.0.1:9/simple", "PIP_RETRIES=0"}, nil, 1, "does not answer for nvidia-cuda-runtime: check the network"},
		{"LIBTORCH", nil, []string{"LIBTORCH=/"}, nil, 1, "LIBTORCH: / holds no libtorch (lib/libtorch_cpu.so and include/)"},
		{"unknown flag", nil, nil, []string{"--gpu"}, 2, "--gpu is not a flag of this script; see --help"},
		{"contradiction", nil, nil, []string{"--archive", "--cuda"}, 2, "--archive has no CUDA libraries"},
		{"no directory", nil, nil, []string{"--prefix"}, 2, "--prefix needs a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin, home := t.TempDir(), t.TempDir()
			for name, text := range c.stubs {
				require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
			}
			prefix := filepath.Join(home, "libtorch")
			args := c.args
			if args == nil {
				args = []string{"--cpu", "--prefix", prefix}
			}
			command := exec.Command("scripts/install_libtorch.sh", args...)
			command.Env = append(os.Environ(), append(c.env, "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+home, "XDG_CACHE_HOME="+home+"/cache",
				"GOCACHE="+goCaches["GOCACHE"], "GOMODCACHE="+goCaches["GOMODCACHE"])...)
			out, err := command.CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "%s", out)
			assert.Equal(t, c.status, exit.ExitCode(), "%s", out)
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			assert.Contains(t, lines[len(lines)-1], c.want)
			assert.NoDirExists(t, prefix)
		})
	}
}
