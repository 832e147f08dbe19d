package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
)

type doctorCmd struct {
	Device string `help:"auto, cpu, cuda or cuda:N." default:"auto" complete:"auto,cpu,cuda"`
	Format string `help:"text or json." default:"text" enum:"text,json"`
	Server string `help:"Check only that the infer serve at this address is healthy; for a container's health check." placeholder:"HOST:PORT" complete:"none"`
}

func (*doctorCmd) Help() string {
	return `Examples:

  infer doctor                    check this machine
  infer doctor --device cuda      whether a GPU can be used
  infer doctor --format json      for programs; exit status 1 if something is wrong
  infer doctor --server 127.0.0.1:8080`
}

// diagnosis is the JSON that doctor prints.
type diagnosis struct {
	Goclip    string    `json:"goclip"`
	Go        string    `json:"go"`
	Libtorch  libtorch  `json:"libtorch"`
	Libraries []library `json:"libraries"` // that the process has loaded
	Decoders  []decoder `json:"decoders"`
	CPU       processor `json:"cpu"`
	Memory    memory    `json:"memory"`
	CUDA      cuda      `json:"cuda"`
	Device    string    `json:"device,omitempty"` // that --device stands for here; "" if it is refused
	Why       string    `json:"why"`              // the device
	Cache     cache     `json:"cache"`
	SelfCheck selfCheck `json:"self_check"`
	Troubles  []trouble `json:"troubles"`
}

// trouble is something that is not as it should be, and in the same sentence how to fix it. With a
// warning goclip works, and less well than it could.
type trouble struct {
	Warning bool   `json:"warning"`
	Text    string `json:"text"`
}

// libtorch describes the library that was loaded.
type libtorch struct {
	Version       string `json:"version"`
	Built         string `json:"built_against"` // the version of the headers
	CPUCapability string `json:"cpu_capability"`
	OneDNN        string `json:"onednn,omitempty"`
	MKL           string `json:"mkl,omitempty"`
	Threads       int    `json:"threads"`
}

func (d *diagnosis) wrong(format string, args ...any) {
	d.Troubles = append(d.Troubles, trouble{false, fmt.Sprintf(format, args...)})
}

func (d *diagnosis) warn(format string, args ...any) {
	d.Troubles = append(d.Troubles, trouble{true, fmt.Sprintf(format, args...)})
}

func (c *doctorCmd) Run(io *streams) error {
	if c.Server != "" {
		return checkServer(io.out, c.Server)
	}
	d := &diagnosis{Goclip: version(), Go: runtime.Version(), Troubles: []trouble{}}
	machine := os.DirFS("/")
	d.checkLibtorch(torch.LibraryBuild())
	d.checkProcessor(machine)
	d.checkMemory(machine)
	device := d.checkDevice(machine, c.Device)
	d.checkCache(pretrained.CacheDir())
	if d.Device != "" {
		d.checkNumbers(device)
	}
	d.checkLibraries(machine) // last: CUDA's are loaded when they are first used
	d.checkDecoders()
	if err := d.print(io.out, c.Format); err != nil {
		return err
	}
	for _, t := range d.Troubles {
		if !t.Warning {
			return errReported
		}
	}
	return nil
}

func (d *diagnosis) checkLibtorch(b torch.Build) {
	d.Libtorch = libtorch{b.Version, b.Headers, b.CPUCapability, b.OneDNN, b.MKL, torch.NumThreads()}
	if b.Version != b.Headers {
		d.wrong("libtorch %s is loaded and goclip was built against %s: unset LD_LIBRARY_PATH, or install that version with scripts/install_libtorch.sh", b.Version, b.Headers)
	}
	if b.CPUCapability == "DEFAULT" {
		d.warn("libtorch uses no AVX2, which makes it several times slower: unset ATEN_CPU_CAPABILITY, or take a processor that has it")
	}
}

func (d *diagnosis) print(w io.Writer, format string) error {
	if format == "json" {
		return printJSON(w, d)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("goclip", "%s, %s", strings.TrimPrefix(d.Goclip, "goclip "), d.Go)
	line("libtorch", "%s, %s kernels, oneDNN %s, MKL %s, %d threads", d.Libtorch.Version, d.Libtorch.CPUCapability, orNone(d.Libtorch.OneDNN), orNone(d.Libtorch.MKL), d.Libtorch.Threads)
	for i, l := range d.Libraries {
		name := ""
		if i == 0 {
			name = "loaded"
		}
		line(name, "%s", strings.TrimSpace(l.Path+" "+l.Version))
	}
	for i, x := range d.Decoders {
		name := ""
		if i == 0 {
			name = "formats"
		}
		line(name, "%s", x)
	}
	line("processor", "%s: %d of %d CPUs%s; %s", d.CPU.Name, d.CPU.Usable, d.CPU.Count, quotaText(d.CPU.Quota), strings.Join(d.CPU.Features, " "))
	line("fp32", "%s", d.CPU.Float32)
	line("memory", "%s, %s available%s", bytesText(d.Memory.Total), bytesText(d.Memory.Available), limitText(d.Memory.Limit))
	line("CUDA", "%s", d.CUDA)
	line("device", "%s: %s", orNone(d.Device), d.Why)
	line("cache", "%s: %d files, %s; %s free", orNone(d.Cache.Dir), d.Cache.Files, bytesText(d.Cache.Bytes), bytesText(d.Cache.Free))
	for _, f := range d.Cache.Largest {
		line("", "%s  %s", bytesText(f.Bytes), f.Path)
	}
	line("self-check", "%s", d.SelfCheck)
	if len(d.Troubles) == 0 {
		line("troubles", "none")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, x := range d.Troubles {
		kind := "WRONG"
		if x.Warning {
			kind = "warning"
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", kind, x.Text); err != nil {
			return err
		}
	}
	return nil
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// bytesText is a number of bytes for people, "1.2 GB".
func bytesText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}

// probePatience is how long a server may take to say that it is well.
const probePatience = 5 * time.Second

// checkServer asks a running infer serve, as a container's health check does, and looks at nothing
// else.
func checkServer(out io.Writer, addr string) error {
	ctx, stop := context.WithTimeout(context.Background(), probePatience)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", nil)
	if err != nil {
		return usageError(fmt.Sprintf("--server %s: must be HOST:PORT, such as 127.0.0.1:8080", addr))
	}
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("--server %s: no infer serve answers: %w", addr, err)
	}
	defer answer.Body.Close()
	var health struct {
		Status, Model, Device string
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(&health); err != nil {
		return fmt.Errorf("--server %s: what answers (%s) is not an infer serve", addr, answer.Status)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("--server %s: it answers %s: %s", addr, answer.Status, health.Status)
	}
	_, err = fmt.Fprintf(out, "%s: %s on %s\n", health.Status, health.Model, health.Device)
	return err
}

// cache is goclip's directory of fetched models and prompts' features.
type cache struct {
	Dir     string      `json:"dir"`
	Files   int         `json:"files"`
	Bytes   int64       `json:"bytes"`
	Free    int64       `json:"free"` // on its disk
	Largest []cacheFile `json:"largest,omitempty"`
}

type cacheFile struct {
	Path  string `json:"path"` // in the cache
	Bytes int64  `json:"bytes"`
}

const (
	largestShown = 8
	wantedFree   = 2 << 30 // ViT-L-14 with its weights in float32
)

func (d *diagnosis) checkCache(dir string) {
	d.Cache.Dir = dir
	if dir == "" {
		d.warn("there is no place for a cache, so that no model can be fetched: set GOCLIP_CACHE to a directory, or HOME")
		return
	}
	var files []cacheFile
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, p)
		files = append(files, cacheFile{name, info.Size()})
		d.Cache.Bytes += info.Size()
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.wrong("the cache cannot be read: %v: set GOCLIP_CACHE to a directory that this user may use", err)
	}
	d.Cache.Files, d.Cache.Free = len(files), disk.FreeBytes(dir)
	slices.SortFunc(files, func(a, b cacheFile) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Path, b.Path)) })
	d.Cache.Largest = files[:min(largestShown, len(files))]
	if !writable(dir) {
		d.warn("the cache %s cannot be written, so that no model can be fetched: set GOCLIP_CACHE to a directory that this user may write", dir)
	}
	if d.Cache.Free < wantedFree {
		d.warn("%s are free for the cache, and a large model takes %s: free some, or set GOCLIP_CACHE to a directory elsewhere", bytesText(d.Cache.Free), bytesText(wantedFree))
	}
	for _, f := range files {
		if strings.HasSuffix(f.Path, ".part") {
			d.warn("%s is an incomplete download: the next command that needs it resumes it, or delete %s", strings.TrimSuffix(f.Path, ".part"), filepath.Join(dir, f.Path))
		}
	}
}

// writable reports whether files can be made in dir, or in the first of those above it that exists.
// Nothing is made.
func writable(dir string) bool {
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return unix.Access(dir, unix.W_OK|unix.X_OK) == nil
		}
		dir = filepath.Dir(dir)
	}
}
