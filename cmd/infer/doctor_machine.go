package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/torch"
)

// processor is the CPU and how much of it a container leaves.
type processor struct {
	Name     string   `json:"name"`
	Count    int      `json:"count"`           // that the process may be scheduled on
	Quota    float64  `json:"quota,omitempty"` // CPUs of the cgroup's limit; 0 for none
	Usable   int      `json:"usable"`          // threads that are used without --threads
	Features []string `json:"features"`        // of those that CLIP's products are faster with
	Float32  string   `json:"float32"`         // how --precision fp32 computes products
}

type memory struct {
	Total     int64 `json:"total"`
	Available int64 `json:"available"`
	Limit     int64 `json:"limit,omitempty"` // of the cgroup; 0 for none
}

// minMemory is what a small model, its images and libtorch itself take.
const minMemory = 512 << 20

func (d *diagnosis) checkProcessor(machine fs.FS) {
	d.CPU = processor{Name: field(machine, "proc/cpuinfo", "model name"), Count: runtime.NumCPU(), Quota: cpuQuota(machine), Usable: runtime.GOMAXPROCS(0), Features: []string{}}
	if d.CPU.Name == "" {
		d.CPU.Name = runtime.GOARCH
	}
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"avx2", cpu.X86.HasAVX2}, {"avx512", cpu.X86.HasAVX512F}, {"avx512_vnni", cpu.X86.HasAVX512VNNI}, {"avx512_bf16", cpu.X86.HasAVX512BF16},
		{"amx_bf16", cpu.X86.HasAMXBF16}, {"amx_int8", cpu.X86.HasAMXInt8},
	} {
		if f.has {
			d.CPU.Features = append(d.CPU.Features, f.name)
		}
	}
	d.CPU.Float32 = "three products of bfloat16 on AMX"
	if err := torch.BFloat16x3(); err != nil {
		d.CPU.Float32 = "float32: " + err.Error()
		if cpu.X86.HasAMXBF16 {
			d.warn("--precision fp32 could be twice as fast: %v", err)
		}
	}
	if q := d.CPU.Quota; q > 0 && q < 1 {
		d.warn("the container has %.2g of a CPU, with which everything is slow: give it more (docker run --cpus 2)", q)
	}
}

func (d *diagnosis) checkMemory(machine fs.FS) {
	d.Memory = memory{kilobytes(field(machine, "proc/meminfo", "MemTotal")), kilobytes(field(machine, "proc/meminfo", "MemAvailable")), memoryLimit(machine)}
	switch m := d.Memory; {
	case m.Limit > 0 && m.Limit < minMemory:
		d.wrong("the container may use %s, and the smallest model needs %s: give it more (docker run --memory 2g)", bytesText(m.Limit), bytesText(minMemory))
	case m.Available > 0 && m.Available < minMemory:
		d.warn("%s of memory are available, and the smallest model needs %s: end something else", bytesText(m.Available), bytesText(minMemory))
	}
}

// field is what stands behind "name:" in a file of /proc.
func field(machine fs.FS, file, name string) string {
	f, err := machine.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func kilobytes(text string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	return n << 10
}

// cpuQuota is the smallest limit on CPU time of the cgroup and those around it, in CPUs.
func cpuQuota(machine fs.FS) (least float64) {
	for _, dir := range cgroups(machine, "cpu") {
		quota, period, _ := strings.Cut(word(machine, dir+"/cpu.max"), " ") // version 2
		if quota == "" {
			quota, period = word(machine, dir+"/cpu.cfs_quota_us"), word(machine, dir+"/cpu.cfs_period_us")
		}
		q, err := strconv.ParseFloat(quota, 64)
		p, errPeriod := strconv.ParseFloat(period, 64)
		if err == nil && errPeriod == nil && q > 0 && p > 0 && (least == 0 || q/p < least) {
			least = q / p
		}
	}
	return least
}

// memoryLimit is the smallest limit on memory of the cgroup and those around it, in bytes.
func memoryLimit(machine fs.FS) (least int64) {
	for _, dir := range cgroups(machine, "memory") {
		for _, file := range []string{"memory.max", "memory.high", "memory.limit_in_bytes"} {
			n, err := strconv.ParseInt(word(machine, dir+"/"+file), 10, 64)
			if err == nil && n > 0 && n < 1<<50 && (least == 0 || n < least) { // version 1 writes a huge number for none
				least = n
			}
		}
	}
	return least
}

// cgroups are the directories of the process's cgroup for a controller and of those around it. In a
// container the file names a path of the host, of which the container's own directory is the root.
func cgroups(machine fs.FS, controller string) (dirs []string) {
	data, _ := fs.ReadFile(machine, "proc/self/cgroup")
	for line := range strings.Lines(string(data)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:path
		if len(part) < 3 {
			continue
		}
		root := "sys/fs/cgroup"
		if part[1] != "" {
			if !strings.Contains(","+part[1]+",", ","+controller+",") {
				continue
			}
			root += "/" + controller
		}
		for at := path.Clean("/" + part[2]); ; at = path.Dir(at) {
			dirs = append(dirs, path.Join(root, at))
			if at == "/" {
				break
			}
		}
	}
	return dirs
}

func word(machine fs.FS, file string) string {
	data, _ := fs.ReadFile(machine, file)
	return strings.TrimSpace(string(data))
}

func quotaText(quota float64) string {
	if quota == 0 {
		return ""
	}
	return fmt.Sprintf(", limited to %.3g by the cgroup", quota)
}

func limitText(limit int64) string {
	if limit == 0 {
		return ""
	}
	return ", limited to " + bytesText(limit) + " by the cgroup"
}

// library is a shared library that the process has loaded.
type library struct {
	Path    string `json:"path"`
	Version string `json:"version,omitempty"` // where the file or its name tells one
}

// decoder is a library or program of the system that reads formats for which goclip has no decoder of its own.
type decoder struct {
	Formats string `json:"formats"`
	Name    string `json:"name"`
	Found   bool   `json:"found"`
	Debian  string `json:"debian"` // the package that has it
}

// checkDecoders comes behind checkLibraries: it loads what it finds.
func (d *diagnosis) checkDecoders() {
	d.Decoders = []decoder{
		{"HEIC and AVIF", "libheif", preprocess.HasHEIF(), "libheif1"},
		{"JPEG XL", "libjxl", preprocess.HasJXL(), "libjxl0.7"},
		{"JPEG 2000", "OpenJPEG", preprocess.HasJPEG2000(), "libopenjp2-7"},
		{"videos", "ffmpeg", preprocess.HasFFmpeg(), "ffmpeg"},
	}
}

func (d decoder) String() string {
	if d.Found {
		return d.Formats + ": by " + d.Name
	}
	return d.Formats + ": not read; no " + d.Name + " (Debian: apt-get install " + d.Debian + ")"
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
