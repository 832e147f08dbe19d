package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/cpu"

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
