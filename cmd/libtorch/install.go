package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

type installCmd struct {
	place
	CPU        bool   `name:"cpu" xor:"device" help:"Libraries for the CPU only."`
	CUDA       bool   `name:"cuda" xor:"device" help:"Also those for NVIDIA GPUs (CUDA 13)."`
	Auto       bool   `name:"auto" xor:"device" help:"CUDA if this machine has an NVIDIA GPU, else CPU (default)."`
	FromPython bool   `xor:"source" help:"Link to the torch of the active Python, or of $PYTHON."`
	Archive    bool   `xor:"source" help:"PyTorch's own libtorch archive, CPU only."`
	Machine    string `enum:",x86_64,aarch64" default:"" help:"Install for another machine, to cross-build for it: x86_64 or aarch64 (default: this machine)."`
}

// Run installs libtorch, or says that it is there.
func (i *installCmd) Run(ctx context.Context, c *console) error {
	if i.Archive && i.CUDA {
		return usageError("--archive has no CUDA libraries; leave --archive or --cuda out")
	}
	prefix, err := i.resolve(false)
	if err != nil {
		return err
	}
	machine, err := checkPlatform(ctx)
	if err != nil {
		return err
	}
	if i.Machine != "" && i.Machine != machine {
		if i.FromPython || i.Archive {
			return usageError("--machine takes libtorch from wheels; leave --from-python or --archive out")
		}
		return i.forMachine(ctx, c, prefix)
	}
	if libtorch := os.Getenv("LIBTORCH"); libtorch != "" {
		return c.linkTo(ctx, libtorch, prefix)
	}
	cuda := i.CUDA || !i.CPU && !i.FromPython && !i.Archive && hasGPU(ctx)
	there, err := i.alreadyThere(c, prefix, cuda)
	if err != nil {
		return err
	}
	if !there {
		if err := checkReplaceable(prefix); err != nil {
			return err
		}
		switch {
		case i.FromPython:
			err = i.fromPython(ctx, c, prefix)
		case i.Archive:
			err = fromArchive(ctx, c, prefix, machine)
		default:
			err = fromWheels(ctx, c, pinned(), prefix, machine, cuda)
		}
		if err != nil {
			return err
		}
	}
	if missing := missingParts(ctx); len(missing) > 0 {
		c.say("the build also needs: %s", packageCommand(missing))
	}
	return nil
}

// forMachine installs the wheels of another machine, whose libraries cannot be loaded here.
func (i *installCmd) forMachine(ctx context.Context, c *console, prefix string) error {
	if there, err := i.alreadyThere(c, prefix, i.CUDA); there || err != nil {
		return err
	}
	if err := checkReplaceable(prefix); err != nil {
		return err
	}
	return fromWheels(ctx, c, pinned(), prefix, i.Machine, i.CUDA)
}

// alreadyThere says so when prefix has what is asked for.
func (i *installCmd) alreadyThere(c *console, prefix string, cuda bool) (bool, error) {
	kind := kindOf(prefix)
	if installedVersion(prefix) != version || i.CUDA && kind != "cuda" {
		return false, nil
	}
	if cuda && kind == "cpu" {
		c.say("libtorch %s (cpu) is in %s already; this machine has a GPU, for which --cuda would install the libraries", version, prefix)
	} else {
		c.say("libtorch %s (%s) is in %s already; nothing to do", version, kind, prefix)
	}
	return true, c.sayHowFound(prefix)
}

// linkTo makes prefix a link to a libtorch that the user has.
func (c *console) linkTo(ctx context.Context, libtorch, prefix string) error {
	if !isDir(libtorch) {
		return fmt.Errorf("LIBTORCH: %s is not a directory; name a libtorch %s, or unset LIBTORCH", libtorch, version)
	}
	there, err := filepath.Abs(libtorch)
	if err != nil {
		return err
	}
	if there, err = filepath.EvalSymlinks(there); err != nil {
		return err
	}
	switch found := installedVersion(there); found {
	case version:
	case "":
		return fmt.Errorf("LIBTORCH: %s holds no libtorch (lib/libtorch_cpu.so and include/); name a libtorch %s, or unset LIBTORCH", libtorch, version)
	default:
		return fmt.Errorf("LIBTORCH: %s is libtorch %s; goclip needs %s", libtorch, found, version)
	}
	if err := checkLoads(ctx, filepath.Join(there, "lib")); err != nil {
		return err
	}
	if now, err := filepath.EvalSymlinks(prefix); err == nil && now == there {
		c.say("libtorch %s is in %s already (%s); nothing to do", version, prefix, there)
		return c.sayHowFound(prefix)
	}
	if err := checkReplaceable(prefix); err != nil {
		return err
	}
	if err := makeParent(prefix); err != nil {
		return err
	}
	staged := stagedPath(prefix)
	if err := os.Symlink(there, staged); err != nil {
		return err
	}
	if err := replace(staged, prefix); err != nil {
		return err
	}
	c.say("libtorch %s: %s is now a link to %s", version, prefix, there)
	return c.sayHowFound(prefix)
}

// fromPython links to the files of an installed torch package; its CUDA libraries, if any, cost
// nothing.
func (i *installCmd) fromPython(ctx context.Context, c *console, prefix string) error {
	python := program("PYTHON", "python3")
	if !has(python) {
		return fmt.Errorf("--from-python: %s is missing; activate the environment that has torch %s, or set PYTHON", python, version)
	}
	torch := output(ctx, python, "-c", `import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s and s.origin else "")`)
	if torch == "" {
		return fmt.Errorf("--from-python: %s has no torch; activate the environment that has torch %s, or set PYTHON",
			output(ctx, python, "-c", "import sys; print(sys.executable)"), version)
	}
	if found := installedVersion(torch); found != version {
		return fmt.Errorf("--from-python: %s is torch %s; goclip needs %s", torch, found, version)
	}
	cuda := !i.CPU && kindOf(torch) == "cuda"
	if i.CUDA && !cuda {
		return fmt.Errorf("--from-python: %s has no CUDA libraries; leave --cuda or --from-python out", torch)
	}
	if err := makeParent(prefix); err != nil {
		return err
	}
	staged := stagedPath(prefix)
	defer os.RemoveAll(staged)
	if err := os.MkdirAll(filepath.Join(staged, "lib"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(torch, "include"), filepath.Join(staged, "include")); err != nil {
		return err
	}
	packages := filepath.Dir(torch)
	for _, pattern := range []string{"torch/lib/*.so*", "nvidia/*/lib/*.so*"} {
		files, err := filepath.Glob(filepath.Join(packages, pattern))
		if err != nil {
			return err
		}
		for _, file := range files {
			name, ok := target(strings.TrimPrefix(file, packages+"/"), cuda)
			if !ok {
				continue
			}
			if err := os.Symlink(file, filepath.Join(staged, name)); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
	}
	return c.finish(ctx, staged, prefix, kindName(cuda), torch, true)
}

// fromArchive unpacks PyTorch's own libtorch archive.
func fromArchive(ctx context.Context, c *console, prefix, machine string) error {
	if machine != "x86_64" {
		return errors.New("--archive: PyTorch publishes it for x86_64 only; leave --archive out")
	}
	url := os.Getenv("GOCLIP_ARCHIVE")
	if url == "" {
		url = "https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-" + version + "%2Bcpu.zip"
	}
	c.warn("--archive is untested, and the checksum of %s is not pinned", url)
	if err := makeParent(prefix); err != nil {
		return err
	}
	if err := checkSpace(ctx, filepath.Dir(prefix), 800, "libtorch for CPU", "--prefix"); err != nil {
		return err
	}
	cache := cachePath()
	unlock, err := c.openCache(ctx, cache)
	if err != nil {
		return err
	}
	defer unlock()
	file := filepath.Join(cache, filepath.Base(url))
	if !exists(file) {
		client, err := newClient("")
		if err != nil {
			return err
		}
		if err := c.download(ctx, client, url, file, ""); err != nil {
			return err
		}
	}
	sum, err := sha256File(file)
	if err != nil {
		return err
	}
	c.say("its SHA-256 is %s", sum)
	staged := stagedPath(prefix)
	defer os.RemoveAll(staged)
	if err := unpack(ctx, file, staged, archiveTarget); err != nil {
		return err
	}
	return c.finish(ctx, staged, prefix, "cpu", "archive", true)
}

// archiveTarget is where a member of the archive goes: all but the static libraries.
func archiveTarget(name string) (string, bool) {
	name, ok := strings.CutPrefix(name, "libtorch/")
	return name, ok && !(strings.HasPrefix(name, "lib/") && strings.HasSuffix(name, ".a"))
}

func kindName(cuda bool) string {
	if cuda {
		return "cuda"
	}
	return "cpu"
}
