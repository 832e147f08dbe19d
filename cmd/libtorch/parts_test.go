package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPinned(t *testing.T) {
	wheels := pinned()
	require.Len(t, wheels, 30)
	for _, w := range wheels {
		assert.Len(t, w.sum, 64, w.file)
		assert.Contains(t, w.file, w.machine)
		assert.Positive(t, w.bytes, w.file)
	}
}

func TestTarget(t *testing.T) {
	for _, c := range []struct{ name, cpu, cuda string }{
		{"torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so", "lib/libtorch_cpu.so"},
		{"torch/lib/libgomp.so.1", "lib/libgomp.so.1", "lib/libgomp.so.1"},
		{"torch/lib/libtorch_cuda_linalg.so", "", "lib/libtorch_cuda_linalg.so"},
		{"torch/lib/libc10_cuda.so", "", "lib/libc10_cuda.so"},
		{"torch/lib/libtorch.so", "", ""},
		{"torch/lib/libtorch_python.so", "", ""},
		{"torch/lib/libshm_windows.so", "", ""},
		{"torch/lib/libx.a", "", ""},
		{"torch/_C.so", "", ""},
		{"torch/include/ATen/ATen.h", "include/ATen/ATen.h", "include/ATen/ATen.h"},
		{"nvidia/cu13/lib/libcudart.so.13", "lib/libcudart.so.13", "lib/libcudart.so.13"},
		{"nvidia/cu13/lib/libcupti.so.13", "lib/libcupti.so.13", "lib/libcupti.so.13"},
		{"nvidia/cu13/lib/libnvperf_host.so", "", "lib/libnvperf_host.so"},
		{"nvidia/cudnn/lib/libcudnn.so.9", "", "lib/libcudnn.so.9"},
		{"torch-2.11.0.dist-info/licenses/LICENSE", "licenses/torch-2.11.0/licenses/LICENSE", "licenses/torch-2.11.0/licenses/LICENSE"},
		{"nvidia_x-1.dist-info/License.txt", "licenses/nvidia_x-1/License.txt", "licenses/nvidia_x-1/License.txt"},
		{"torch-2.11.0.dist-info/RECORD", "", ""},
	} {
		for cuda, want := range map[bool]string{false: c.cpu, true: c.cuda} {
			got, ok := target(c.name, cuda)
			assert.Equal(t, want != "", ok, "%s, CUDA %v", c.name, cuda)
			if ok {
				assert.Equal(t, want, got)
			}
		}
	}
}

func TestAtLeast(t *testing.T) {
	for _, c := range []struct {
		have, want string
		ok         bool
	}{{"2.28", "2.28", true}, {"2.36", "2.28", true}, {"2.9", "2.28", false}, {"3", "2.28", true}, {"2", "2.28", false}, {"2.28.1", "2.28", true}} {
		assert.Equal(t, c.ok, atLeast(c.have, c.want), "%s and %s", c.have, c.want)
	}
}

func TestEnvironment(t *testing.T) {
	lines, err := environment("/opt/libtorch")
	require.NoError(t, err)
	assert.Equal(t, `export CGO_CPPFLAGS="-isystem/opt/libtorch/include -isystem/opt/libtorch/include/torch/csrc/api/include ${CGO_CPPFLAGS:-}"
export CGO_LDFLAGS="-L/opt/libtorch/lib -Wl,-rpath,/opt/libtorch/lib -Wl,-rpath-link,/opt/libtorch/lib ${CGO_LDFLAGS:-}"
`, lines)
	lines, err = environment("/opt/my libtorch")
	require.NoError(t, err)
	assert.Contains(t, lines, `'-L/opt/my libtorch/lib' '-Wl,-rpath,/opt/my libtorch/lib'`)
	_, err = environment("/opt/a,b")
	require.ErrorContains(t, err, "/opt/a,b: choose a path without quotes, commas")
}

// TestDefaultPrefix looks for the checkout that the program is run in.
func TestDefaultPrefix(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module github.com/goclip/goclip\n\ngo 1.26.0\n"), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "clip"), 0o755))
	t.Chdir(filepath.Join(dir, "clip"))
	prefix, err := place{}.resolve(false)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "third_party", "libtorch"), prefix)
	assert.True(t, knownToBuild(prefix))
	assert.True(t, knownToBuild("/usr/local/libtorch"))

	user := t.TempDir()
	t.Chdir(user)
	prefix, err = place{"lib torch"}.resolve(true)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(user, "lib torch"), prefix)
	assert.False(t, knownToBuild(filepath.Join(user, "third_party", "libtorch")))
}

func TestNetrc(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netrc")
	require.NoError(t, os.WriteFile(path, []byte("machine a.example login me password secret\nmachine b.example\n login you password word\ndefault login any password one"), 0o600))
	t.Setenv("NETRC", path)
	for host, want := range map[string]string{"a.example": "me:secret", "b.example": "you:word", "c.example": "any:one"} {
		user, password, ok := netrc(host)
		assert.True(t, ok)
		assert.Equal(t, want, user+":"+password)
	}
	t.Setenv("NETRC", path+".none")
	_, _, ok := netrc("a.example")
	assert.False(t, ok)
}

// TestPasswordIsSent and not printed.
func TestPasswordIsSent(t *testing.T) {
	b := newBench(t)
	require.NoError(t, os.WriteFile(os.Getenv("NETRC"), []byte("machine 127.0.0.1 login me password secret"), 0o600))
	b.index.serve = func(w http.ResponseWriter, r *http.Request, file []byte) {
		if user, password, _ := r.BasicAuth(); user+password != "mesecret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		cut(1<<20)(w, r, file)
	}
	require.NoError(t, b.install(t.Context(), pinsOf(b.index.files)))
	assert.Equal(t, "https://index.example/x", redacted("https://me:secret@index.example/x"))
}

func TestWrongFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"install", "--no-such"}, "libtorch: unknown flag --no-such; see --help\n"},
		{[]string{"install", "--cpu", "--cuda"}, "libtorch: --cpu and --cuda can't be used together; see --help\n"},
		{[]string{"install", "--archive", "--cuda"}, "libtorch: --archive has no CUDA libraries; leave --archive or --cuda out\n"},
		{nil, `libtorch: expected one of "install", "env", "deps"; see --help` + "\n"},
	} {
		var out, errs bytes.Buffer
		assert.Equal(t, 2, run(c.args, &out, &errs))
		assert.Equal(t, c.want, errs.String())
		assert.Empty(t, out.String())
	}
}
