package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/internal/gputest"
	"github.com/goclip/goclip/torch"
)

func examine(t *testing.T, out string) (d diagnosis) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(out), &d), "%s", out)
	return d
}

// TestDoctor runs it here, where nothing may be wrong.
func TestDoctor(t *testing.T) {
	cached := t.TempDir()
	t.Setenv("GOCLIP_CACHE", cached)
	writeFile(t, cached, "weights.safetensors", make([]byte, 1000))
	writeFile(t, cached, "other.bin.part", nil)
	code, out, errs := infer(t, "", "doctor", "--format", "json")
	require.Zero(t, code, "%s%s", out, errs)
	d := examine(t, out)
	assert.Equal(t, d.Libtorch.Built, d.Libtorch.Version)
	assert.NotEmpty(t, d.Libtorch.CPUCapability)
	assert.NotEmpty(t, d.Libtorch.OneDNN)
	for _, name := range []string{"libtorch_cpu.so", "libc10.so", "libgomp", "libjpeg.so", "libc.so"} {
		i := slices.IndexFunc(d.Libraries, func(l library) bool { return strings.HasPrefix(filepath.Base(l.Path), name) })
		if assert.GreaterOrEqual(t, i, 0, "%s is loaded: %v", name, d.Libraries) {
			assert.FileExists(t, d.Libraries[i].Path)
			assert.Equal(t, name != "libgomp", d.Libraries[i].Version != "", "the version of %s", name)
		}
	}
	require.Len(t, d.Decoders, 4)
	assert.Equal(t, preprocess.HasHEIF(), d.Decoders[0].Found)
	assert.Equal(t, preprocess.HasJPEG2000(), d.Decoders[2].Found)
	assert.Equal(t, "JPEG 2000: not read; no OpenJPEG (Debian: apt-get install libopenjp2-7)", decoder{"JPEG 2000", "OpenJPEG", false, "libopenjp2-7"}.String())
	assert.Less(t, d.SelfCheck.Difference, 1e-5, "open_clip's cosines")
	assert.Len(t, d.SelfCheck.Cosines, 2)
	assert.Equal(t, cached, d.Cache.Dir)
	assert.Equal(t, 2, d.Cache.Files)
	assert.EqualValues(t, 1000, d.Cache.Bytes)
	assert.Equal(t, cacheFile{"weights.safetensors", 1000}, d.Cache.Largest[0])
	assert.Positive(t, d.Cache.Free)
	assert.Contains(t, troubles(d), "other.bin is an incomplete download")

	code, out, _ = infer(t, "", "doctor")
	assert.Zero(t, code)
	for _, line := range []string{"libtorch", "loaded", "formats", "processor", "memory", "CUDA", "device", "cache", "self-check", "warning: other.bin"} {
		assert.Contains(t, out, "\n"+line)
	}
	code, out, _ = infer(t, "", "doctor", "--device", "cuda:99", "--format", "json")
	assert.Equal(t, 1, code)
	assert.Contains(t, troubles(examine(t, out)), "--device cuda:99")
}

func troubles(d diagnosis) string {
	var all []string
	for _, x := range d.Troubles {
		all = append(all, x.Text)
	}
	return strings.Join(all, "\n")
}

// TestDoctorOtherCUDA gives the command a libtorch whose part for CUDA cannot be loaded, and one
// that finds no device: each command says so when it runs on the CPU, and --device cuda is refused.
func TestDoctorOtherCUDA(t *testing.T) {
	if d := examine(t, must(infer(t, "", "doctor", "--format", "json"))); d.CUDA.Libtorch {
		t.Skip("this libtorch knows CUDA")
	}
	libraries, err := loaded(os.DirFS("/"))
	require.NoError(t, err)
	at := slices.IndexFunc(libraries, func(p string) bool { return filepath.Base(p) == "libtorch_cpu.so" })
	require.GreaterOrEqual(t, at, 0)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(libraries[at]), "lib*"))
	require.NoError(t, err)
	for _, c := range []struct {
		name, says, mend string
		make             func(t *testing.T, path string)
	}{
		{"broken", "libtorch_cuda.so: file too short", "reinstall it with scripts/install_libtorch.sh --cuda",
			func(t *testing.T, path string) {
				require.NoError(t, os.WriteFile(path, []byte("not a library"), 0o644))
			}},
		{"no device", "CUDA finds no GPU (error 100)", "libtorch knows CUDA", func(t *testing.T, path string) {
			require.NoError(t, os.Symlink(filepath.Join(gputest.Dir(t), "libtorch_cuda.so"), path))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range files {
				require.NoError(t, os.Symlink(f, filepath.Join(dir, filepath.Base(f))))
			}
			c.make(t, filepath.Join(dir, "libtorch_cuda.so"))
			run := func(args ...string) (out, errs string, code int) {
				cmd := process(args...)
				cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+dir)
				var o, e strings.Builder
				cmd.Stdout, cmd.Stderr = &o, &e
				if err := cmd.Run(); err != nil {
					var exit *exec.ExitError
					require.True(t, errors.As(err, &exit), "%v", err)
					code = exit.ExitCode()
				}
				noTrace(t, o.String()+e.String())
				return o.String(), e.String(), code
			}
			out, errs, code := run("doctor", "--format", "json")
			assert.Equal(t, 1, code, errs)
			d := examine(t, out)
			assert.Equal(t, "cpu", d.Device)
			assert.True(t, d.CUDA.Libtorch)
			assert.Contains(t, troubles(d), "auto takes the CPU although libtorch knows CUDA")
			assert.Contains(t, troubles(d), c.mend)

			score := []string{"score", "--image", testImage("face.png"), "--text", "a", "--text", "b"}
			_, errs, code = run(score...)
			assert.Zero(t, code)
			assert.Contains(t, oneLine(t, errs), "infer: running on the CPU: ")
			assert.Contains(t, errs, c.says)
			_, errs, code = run(append(score, "--device", "cpu")...)
			assert.Zero(t, code)
			assert.Empty(t, errs, "it was asked for")
			_, errs, code = run(append(score, "--device", "cuda")...)
			assert.Equal(t, 2, code)
			assert.Contains(t, oneLine(t, errs), "choose the device cpu")
		})
	}
}

func must(_ int, out, _ string) string { return out }

// TestDoctorDevice tells of each thing that may lack between goclip and a card.
func TestDoctorDevice(t *testing.T) {
	card := fstest.MapFS{
		"sys/bus/pci/devices/0000:00:02.0/vendor": {Data: []byte("0x8086\n")}, "sys/bus/pci/devices/0000:00:02.0/class": {Data: []byte("0x030000\n")},
		"sys/bus/pci/devices/0000:65:00.0/vendor": {Data: []byte("0x10de\n")}, "sys/bus/pci/devices/0000:65:00.0/class": {Data: []byte("0x030200\n")},
		"sys/bus/pci/devices/0000:65:00.1/vendor": {Data: []byte("0x10de\n")}, "sys/bus/pci/devices/0000:65:00.1/class": {Data: []byte("0x040300\n")}, // its sound
	}
	driver := fstest.MapFS{"proc/driver/nvidia/version": {Data: []byte("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: 12\n")}}
	node := fstest.MapFS{"dev/nvidiactl": {}}
	join := func(parts ...fstest.MapFS) fstest.MapFS {
		all := fstest.MapFS{}
		for _, p := range parts {
			for name, f := range p {
				all[name] = f
			}
		}
		return all
	}
	old := fstest.MapFS{"proc/driver/nvidia/version": {Data: []byte("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n")}}
	for _, c := range []struct {
		name    string
		machine fstest.MapFS
		cuda    cuda // what libtorch says
		device  string
		says    string
		wrong   bool
		warned  bool
	}{
		{"no card", nil, cuda{}, "auto", "installed without CUDA, and there is no NVIDIA card", false, false},
		{"a card, no CUDA", join(card, driver, node), cuda{}, "auto", "install_libtorch.sh --cuda", false, true},
		{"a card, chosen CPU", join(card, driver, node), cuda{}, "cpu", "--device cpu", false, false},
		{"no card, CUDA", nil, cuda{Libtorch: true}, "auto", "shows no NVIDIA card", true, true},
		{"no driver", card, cuda{Libtorch: true}, "auto", "install NVIDIA's driver", true, true},
		{"no node", join(card, driver), cuda{Libtorch: true}, "auto", "--gpus all", true, true},
		{"hidden", join(card, driver, node), cuda{Libtorch: true, Hidden: true}, "auto", "CUDA_VISIBLE_DEVICES hides every card", true, true},
		{"broken", join(card, driver, node), cuda{Libtorch: true}, "auto", "the driver 580.65.06 gives libtorch no device", true, true},
		{"Volta", join(card, driver, node), cuda{Libtorch: true, Devices: 1, Error: "this libtorch has kernels from 7.5"}, "auto", "has kernels from 7.5", true, true},
		{"in use", join(card, driver, node), cuda{Libtorch: true, Code: 46, Error: (&torch.CUDAError{Code: 46}).Error()}, "auto", "every GPU is held by another process", true, true},
		{"no fabric", join(card, driver, node), cuda{Libtorch: true, Code: 802, Error: (&torch.CUDAError{Code: 802}).Error()}, "auto", "start nvidia-fabricmanager", true, true},
		{"none", join(card, driver, node), cuda{Libtorch: true, Code: 100, Error: (&torch.CUDAError{Code: 100}).Error()}, "auto", "the driver 580.65.06 gives libtorch no device", true, true},
		{"old", join(card, old, node), cuda{Libtorch: true, Code: 35, Error: (&torch.CUDAError{Code: 35}).Error()}, "auto", "install driver 580 or newer", true, true},
		{"damaged", join(card, driver, node), cuda{Libtorch: true, Error: "no libcudart"}, "auto", "(no libcudart): reinstall it", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &diagnosis{Device: "cpu", CUDA: lookForCUDA(c.machine)}
			if c.machine["dev/nvidiactl"] != nil && !strings.Contains(c.name, "old") {
				assert.Equal(t, cuda{Cards: 1, Driver: "580.65.06", Nodes: true}, d.CUDA)
			}
			d.CUDA.Libtorch, d.CUDA.Error, d.CUDA.Code, d.CUDA.Devices, d.CUDA.Hidden = c.cuda.Libtorch, c.cuda.Error, c.cuda.Code, c.cuda.Devices, c.cuda.Hidden
			d.explainDevice(c.device, nil)
			assert.Contains(t, d.Why, c.says)
			require.Equal(t, c.warned, len(d.Troubles) == 1, "%v", d.Troubles)
			if c.warned {
				assert.Equal(t, c.wrong, !d.Troubles[0].Warning)
				assert.Contains(t, d.Troubles[0].Text, c.says)
			}
		})
	}
	d := &diagnosis{Device: "cuda:0", CUDA: cuda{Libtorch: true, Devices: 1}}
	d.explainDevice("auto", nil)
	assert.Empty(t, d.Troubles)
	d = &diagnosis{}
	d.explainDevice("cuda", errors.New("device cuda: no"))
	assert.Equal(t, "--device cuda: no", d.Troubles[0].Text)
}

// denied lets nobody open /dev/nvidiactl.
type denied struct{ fstest.MapFS }

func (d denied) Open(name string) (fs.File, error) {
	if name == "dev/nvidiactl" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return d.MapFS.Open(name)
}

// TestDoctorDenied tells a card that this user may not use from one that is not there.
func TestDoctorDenied(t *testing.T) {
	d := &diagnosis{Device: "cpu", CUDA: lookForCUDA(denied{fstest.MapFS{
		"sys/bus/pci/devices/0000:65:00.0/vendor": {Data: []byte("0x10de\n")}, "sys/bus/pci/devices/0000:65:00.0/class": {Data: []byte("0x030200\n")},
		"proc/driver/nvidia/version": {Data: []byte("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n")},
	}})}
	d.CUDA.Libtorch = true
	d.explainDevice("auto", nil)
	assert.True(t, d.CUDA.Denied)
	assert.Contains(t, troubles(*d), "/dev/nvidiactl cannot be opened: join the group")
}

// TestHidesCards reads values of CUDA_VISIBLE_DEVICES.
func TestHidesCards(t *testing.T) {
	for value, want := range map[string]bool{"": true, "-1": true, " -1,0": true, "NoDevFiles": true, "0": false, "1,0": false, "GPU-8f3c": false} {
		assert.Equal(t, want, hidesCards(value), value)
	}
}

// TestDoctorLimits reads the limits of both versions of cgroups.
func TestDoctorLimits(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for _, c := range []struct {
		name    string
		machine fstest.MapFS
		cpus    float64
		memory  int64
	}{
		{"none", fstest.MapFS{}, 0, 0},
		{"no limit", fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/cpu.max": file("max 100000\n"), "sys/fs/cgroup/memory.max": file("max\n")}, 0, 0},
		{"version 2", fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/cpu.max": file("150000 100000\n"), "sys/fs/cgroup/a/b/cpu.max": file("max 100000\n"),
			"sys/fs/cgroup/a/b/memory.max": file("300000000\n"), "sys/fs/cgroup/memory.max": file("900000000\n")}, 1.5, 300_000_000},
		{"a container", fstest.MapFS{"proc/self/cgroup": file("0::/system.slice/docker-1.scope\n"), "sys/fs/cgroup/cpu.max": file("50000 100000\n")}, 0.5, 0},
		{"version 1", fstest.MapFS{"proc/self/cgroup": file("4:memory:/x\n3:cpu,cpuacct:/x\n"), "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": file("200000\n"), "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": file("100000\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n"), "sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("700000000\n")}, 2, 700_000_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.InDelta(t, c.cpus, cpuQuota(c.machine), 1e-9)
			assert.Equal(t, c.memory, memoryLimit(c.machine))
			d := &diagnosis{}
			c.machine["proc/meminfo"] = file("MemTotal:       1000000 kB\nMemAvailable:    600000 kB\n")
			d.checkProcessor(c.machine)
			d.checkMemory(c.machine)
			assert.EqualValues(t, 1000000<<10, d.Memory.Total)
			assert.Equal(t, c.cpus == 0.5, strings.Contains(troubles(*d), "0.5 of a CPU"))
			assert.Equal(t, c.memory == 300_000_000, strings.Contains(troubles(*d), "the container may use 300.0 MB"))
		})
	}
}

// TestDoctorLibraries reads a map of a process with two OpenMP runtimes.
func TestDoctorLibraries(t *testing.T) {
	maps := `55d0-55d1 r-xp 00000000 08:01 1 /usr/bin/infer
7f00-7f01 r-xp 00000000 08:01 2                  /opt/a/libgomp.so.1
7f01-7f02 r--p 00000000 08:01 2                  /opt/a/libgomp.so.1
7f03-7f04 r-xp 00000000 08:01 3                  /opt/b/libiomp5.so (deleted)
7f05-7f06 r-xp 00000000 08:01 3                  /opt/a dir/libjpeg.so.9.5.0
7f07-7f08 rw-p 00000000 00:00 0                  [heap]
`
	d := &diagnosis{}
	d.checkLibraries(fstest.MapFS{"proc/self/maps": {Data: []byte(maps)}})
	assert.Equal(t, []library{{Path: "/opt/a dir/libjpeg.so.9.5.0"}, {Path: "/opt/a/libgomp.so.1"}, {Path: "/opt/b/libiomp5.so"}}, d.Libraries)
	assert.Contains(t, troubles(*d), "two OpenMP runtimes are loaded (/opt/a/libgomp.so.1, /opt/b/libiomp5.so)")
	assert.Contains(t, troubles(*d), "libjpeg.so.9.5.0 is not libjpeg-turbo")
}

// TestDoctorServer asks a real server, one that is none, and an address where nothing listens.
func TestDoctorServer(t *testing.T) {
	s := begin(t, "--token", "open sesame")
	code, out, errs := infer(t, "", "doctor", "--server", strings.TrimPrefix(s.at, "http://"))
	assert.Zero(t, code, errs)
	assert.Equal(t, "ok: emoji-64 on cpu\n", out)
	s.end(t)
	code, _, errs = infer(t, "", "doctor", "--server", strings.TrimPrefix(s.at, "http://"))
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "no infer serve answers")
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	code, _, errs = infer(t, "", "doctor", "--server", strings.TrimPrefix(other.URL, "http://"))
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "(404 Not Found) is not an infer serve")
	code, _, _ = infer(t, "", "doctor", "--server", "not an address")
	assert.Equal(t, 2, code)
}
