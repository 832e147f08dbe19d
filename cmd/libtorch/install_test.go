package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	torchFile   = "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl"
	runtimeFile = "nvidia_cuda_runtime-13.0.96-py3-none-manylinux_2_17_x86_64.whl"
	header      = "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n#define TORCH_VERSION_PATCH 0\n"
)

// fakeWheels gives a small torch wheel and one that it needs, with libraries that the loader can
// load.
func fakeWheels(t *testing.T) map[string][]byte {
	t.Helper()
	library := filepath.Join(t.TempDir(), "lib.so")
	out, err := exec.Command("gcc", "-shared", "-nostdlib", "-o", library, "-x", "c", "/dev/null").CombinedOutput()
	require.NoError(t, err, "%s", out)
	elf, err := os.ReadFile(library)
	require.NoError(t, err)
	return map[string][]byte{
		torchFile: zipOf(t, map[string]string{
			"torch/lib/libtorch_cpu.so":                string(elf),
			"torch/lib/libtorch_python.so":             string(elf),
			"torch/lib/libtorch_cuda.so":               string(elf),
			"torch/include/torch/headeronly/version.h": header,
			"torch/nn/modules.py":                      "pass",
			"torch-2.11.0.dist-info/licenses/LICENSE":  "BSD",
		}),
		runtimeFile: zipOf(t, map[string]string{
			"nvidia/cu13/lib/libcudart.so.13": string(elf), "nvidia/cu13/lib/libnvperf_host.so": string(elf),
		}),
	}
}

func zipOf(t *testing.T, members map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range members {
		f, err := w.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(f, text)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// pinsOf are the lines of libtorch.sums for these files.
func pinsOf(files map[string][]byte) []wheel {
	pin := func(name, file string) wheel {
		sum := sha256.Sum256(files[file])
		return wheel{"x86_64", "cpu,cuda", name, file, hex.EncodeToString(sum[:]), int64(len(files[file])), 1, 1}
	}
	return []wheel{pin("nvidia-cuda-runtime", runtimeFile), pin("torch", torchFile)}
}

// packageIndex is a package index on loopback. What serve does with the file of torch is each
// test's own.
type packageIndex struct {
	files  map[string][]byte
	serve  func(w http.ResponseWriter, r *http.Request, file []byte)
	ranges []string // the Range header of each request for torch
}

func (p *packageIndex) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	if strings.HasPrefix(r.URL.Path, "/simple/") {
		w.Header().Set("Content-Type", "text/html")
		for file := range p.files {
			if strings.HasPrefix(file, strings.ReplaceAll(name, "-", "_")) {
				fmt.Fprintf(w, `<a href="/files/%s">%s</a>`, file, file)
			}
		}
		return
	}
	file, ok := p.files[name]
	switch {
	case !ok:
		http.NotFound(w, r)
	case name == torchFile && p.serve != nil:
		p.ranges = append(p.ranges, r.Header.Get("Range"))
		p.serve(w, r, file)
	default:
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(file))
	}
}

// cut sends no more than n bytes of what it promises from where the client wants to continue.
func cut(n int) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, r *http.Request, file []byte) {
		start, status := 0, http.StatusOK
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start); err == nil {
			status = http.StatusPartialContent
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(file)-1, len(file)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(file)-start))
		w.WriteHeader(status)
		_, _ = w.Write(file[start:min(start+n, len(file))])
	}
}

// bench is an empty home with an index, and a console whose lines are kept.
type bench struct {
	*console
	out    bytes.Buffer
	index  packageIndex
	prefix string
	cache  string
}

// newBench installs from the index's files by their address, since pip takes a second.
func newBench(t *testing.T) *bench {
	home := t.TempDir()
	b := &bench{index: packageIndex{files: fakeWheels(t)}, prefix: filepath.Join(home, "libtorch"), cache: filepath.Join(home, "cache", "goclip")}
	b.console = &console{&b.out, &b.out}
	server := httptest.NewServer(&b.index)
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"XDG_CACHE_HOME": filepath.Join(home, "cache"), "PIP_INDEX_URL": server.URL + "/simple", "PIP_CONFIG_FILE": "/dev/null",
		"PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_CERT": "", "GOCLIP_WHEELS": server.URL + "/files/", "LIBTORCH": "",
		"NETRC": filepath.Join(home, "netrc"), "http_proxy": "", "HTTP_PROXY": "",
	} {
		t.Setenv(name, value)
	}
	return b
}

func (b *bench) install(ctx context.Context, wheels []wheel) error {
	return fromWheels(ctx, b.console, wheels, b.prefix, "x86_64", false)
}

// holds lists the files below a directory.
func holds(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, name)
		}
		return err
	}))
	return names
}

func TestInstallFromIndex(t *testing.T) {
	b := newBench(t)
	t.Setenv("GOCLIP_WHEELS", "")
	require.NoError(t, b.install(t.Context(), pinsOf(b.index.files)))
	assert.Equal(t, []string{"goclip-libtorch", "include/torch/headeronly/version.h", "lib/libcudart.so.13", "lib/libtorch_cpu.so",
		"licenses/torch-2.11.0/licenses/LICENSE"}, holds(t, b.prefix))
	stamp, err := os.ReadFile(filepath.Join(b.prefix, stampName))
	require.NoError(t, err)
	assert.Equal(t, "version=2.11.0\nkind=cpu\nsource=wheel\n", string(stamp))
	assert.Contains(t, b.out.String(), "libtorch 2.11.0 (cpu) is in "+b.prefix)
	assert.Contains(t, b.out.String(), `export CGO_CPPFLAGS="-isystem`+b.prefix+"/include ")

	b.out.Reset()
	assert.Equal(t, 0, run([]string{"install", "--cpu", "--prefix", b.prefix}, &b.out, &b.out))
	assert.Contains(t, b.out.String(), "is in "+b.prefix+" already; nothing to do\n")
	left, err := filepath.Glob(b.prefix + ".*")
	require.NoError(t, err)
	assert.Empty(t, left)
}

// TestDownload fetches from servers that break off, refuse, or send something else.
func TestDownload(t *testing.T) {
	wrong := func(files map[string][]byte) {
		files[torchFile] = append(bytes.Clone(files[torchFile]), "tail"...)
	}
	for _, c := range []struct {
		name   string
		change func(files map[string][]byte) // after the sums were taken
		serve  func(w http.ResponseWriter, r *http.Request, file []byte)
		part   string // what an earlier run left
		want   string // of the error; "" for success
		kept   bool   // whether the part is still there
		pip    bool   // by the package index
		tries  int    // requests for the file; -1 for more than three
	}{
		{name: "good", serve: cut(1 << 20), tries: 1},
		{name: "wrong sum", change: wrong, serve: cut(1 << 20), want: "the file was deleted", tries: 1},
		{name: "truncated file", change: func(files map[string][]byte) { files[torchFile] = files[torchFile][:100] },
			serve: cut(1 << 20), want: "its SHA-256 is", tries: 1},
		{name: "not a zip file", change: func(files map[string][]byte) { files[torchFile] = []byte("<html>") },
			serve: cut(1 << 20), want: "its SHA-256 is", tries: 1},
		{name: "breaks and continues", serve: cut(300), tries: -1},
		{name: "breaks for good", serve: func(w http.ResponseWriter, r *http.Request, file []byte) {
			if r.Header.Get("Range") == "" {
				cut(300)(w, r, file)
				w.(http.Flusher).Flush()
			}
			panic(http.ErrAbortHandler)
		}, want: "check the network; what came is kept, and the next run continues it", kept: true, tries: 3},
		{name: "part of another file", part: "something else", serve: cut(1 << 20), tries: 2},
		{name: "no ranges", part: "something else", serve: func(w http.ResponseWriter, _ *http.Request, file []byte) { _, _ = w.Write(file) }, tries: 1},
		{name: "refused", serve: func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(403) },
			want: "the server refuses it (403 Forbidden); get it elsewhere, and name its directory in GOCLIP_WHEELS", tries: 1},
		{name: "not on the index", change: func(files map[string][]byte) { delete(files, torchFile); files["torch-2.10.0-py3-none-any.whl"] = nil },
			want: "the package index that pip is configured for has no " + torchFile, pip: true},
		{name: "unknown package", change: func(files map[string][]byte) { delete(files, torchFile) },
			want: "does not answer for torch: check the network", pip: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			pins := pinsOf(b.index.files)
			if c.pip {
				t.Setenv("GOCLIP_WHEELS", "")
			}
			if c.change != nil {
				c.change(b.index.files)
			}
			b.index.serve = c.serve
			part := filepath.Join(b.cache, torchFile+".part")
			if c.part != "" {
				require.NoError(t, os.MkdirAll(b.cache, 0o755))
				require.NoError(t, os.WriteFile(part, []byte(c.part), 0o644))
			}
			err := b.install(t.Context(), pins)
			if c.tries < 0 {
				assert.Greater(t, len(b.index.ranges), 3)
			} else {
				assert.Len(t, b.index.ranges, c.tries)
			}
			if c.kept {
				assert.FileExists(t, part)
			} else {
				assert.NoFileExists(t, part)
			}
			if c.want == "" {
				require.NoError(t, err)
				assert.FileExists(t, filepath.Join(b.prefix, "lib", "libtorch_cpu.so"))
				return
			}
			require.ErrorContains(t, err, c.want)
			left, err := filepath.Glob(b.prefix + "*")
			require.NoError(t, err)
			assert.Empty(t, left)
			if c.kept { // a server in better health then continues
				b.index.serve = cut(1 << 20)
				require.NoError(t, b.install(t.Context(), pins))
				assert.Equal(t, "bytes=300-", b.index.ranges[len(b.index.ranges)-1])
			}
		})
	}
}

// TestDownloadStops ends a download whose server stalls, and keeps what came.
func TestDownloadStops(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.index.serve = func(w http.ResponseWriter, r *http.Request, file []byte) {
		w.Header().Set("Content-Length", strconv.Itoa(len(file)))
		_, _ = w.Write(file[:300])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}
	require.ErrorIs(t, b.install(ctx, pinsOf(b.index.files)), context.Canceled)
	assert.NoDirExists(t, b.prefix)
	left, err := filepath.Glob(b.prefix + "*")
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestWheelsDirectory(t *testing.T) {
	b := newBench(t)
	pins := pinsOf(b.index.files)
	dir := t.TempDir()
	t.Setenv("GOCLIP_WHEELS", dir)
	require.ErrorContains(t, b.install(t.Context(), pins), "GOCLIP_WHEELS: "+dir+" has no "+runtimeFile)
	for name, data := range b.index.files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	require.NoError(t, b.install(t.Context(), pins))
	assert.Equal(t, "2.11.0", installedVersion(b.prefix))

	require.NoError(t, os.WriteFile(filepath.Join(dir, torchFile), []byte("other"), 0o644))
	require.ErrorContains(t, b.install(t.Context(), pins), torchFile+": its SHA-256 is d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa, not "+pins[1].sum+"; download it again")
	assert.Equal(t, "2.11.0", installedVersion(b.prefix), "what was there stays")
}

// TestBadWheels unpacks wheels whose sums are right and whose contents are not.
func TestBadWheels(t *testing.T) {
	for _, c := range []struct {
		name, want string
		torch      map[string]string
	}{
		{"empty", "what was unpacked is libtorch of an unknown version, not 2.11.0", nil},
		{"another version", "what was unpacked is libtorch 2.11.9, not 2.11.0", map[string]string{"torch/lib/libtorch_cpu.so": "",
			"torch/include/torch/headeronly/version.h": strings.Replace(header, "PATCH 0", "PATCH 9", 1)}},
		{"not a library", "libtorch_cpu.so cannot be loaded on this system", map[string]string{"torch/lib/libtorch_cpu.so": "text",
			"torch/include/torch/headeronly/version.h": header}},
		{"a name that leads out", "path escapes from parent", map[string]string{"torch/include/../../../evil": "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.index.files[torchFile] = zipOf(t, c.torch)
			require.ErrorContains(t, b.install(t.Context(), pinsOf(b.index.files)), c.want)
			assert.NoDirExists(t, b.prefix)
			assert.NoFileExists(t, filepath.Join(filepath.Dir(b.prefix), "evil"))
		})
	}
}

// TestNeverReplaced leaves alone what this program did not install.
func TestNeverReplaced(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"something else", "notes.txt", "holds something else than libtorch; choose a new directory with --prefix"},
		{"another's libtorch", "lib/libtorch_cpu.so", "holds something else than libtorch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			path := filepath.Join(b.prefix, c.file)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, nil, 0o644))
			assert.Equal(t, 1, run([]string{"install", "--cpu", "--prefix", b.prefix}, &b.out, &b.out))
			assert.Contains(t, b.out.String(), c.want)
			assert.FileExists(t, path)
		})
	}
}

// TestLIBTORCH links to a libtorch that is there, and replaces its own link.
func TestLIBTORCH(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.install(t.Context(), pinsOf(b.index.files)))
	link := b.prefix + "-link"
	t.Setenv("LIBTORCH", b.prefix)
	for _, want := range []string{"is now a link to " + b.prefix, "is in " + link + " already (" + b.prefix + "); nothing to do"} {
		b.out.Reset()
		require.Equal(t, 0, run([]string{"install", "--prefix", link}, &b.out, &b.out), b.out.String())
		assert.Contains(t, b.out.String(), want)
	}
	at, err := filepath.EvalSymlinks(link)
	require.NoError(t, err)
	assert.Equal(t, b.prefix, at)
}

// TestMachine installs for another machine: its libraries cannot be loaded here and are not tried.
func TestMachine(t *testing.T) {
	other := map[string]string{"x86_64": "aarch64", "aarch64": "x86_64"}[output(t.Context(), "uname", "-m")]
	t.Setenv("GOCLIP_WHEELS", t.TempDir())
	prefix := filepath.Join(t.TempDir(), "libtorch")
	var out, errs bytes.Buffer
	code := run([]string{"install", "--machine", other, "--prefix", prefix}, &out, &errs)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs.String(), other+".whl", "a wheel of the other machine is asked for")
	code = run([]string{"install", "--machine", other, "--from-python", "--prefix", prefix}, &out, &errs)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs.String(), "--machine takes libtorch from wheels")
}
