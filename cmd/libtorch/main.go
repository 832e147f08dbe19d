// Command libtorch installs libtorch 2.11.0 where goclip's build finds it, from a checkout or
// without one:
//
//	go run github.com/goclip/goclip/cmd/libtorch@latest install
//
// It needs no C++ compiler. Exit status: 0 done, or nothing to do; 1 it cannot be done, with the
// reason; 2 the command line is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

const version = "2.11.0"

const description = `Installs libtorch ` + version + `, which goclip's build needs.

Where libtorch comes from, the first that applies:

  $LIBTORCH       a libtorch ` + version + `, or a Python's torch package, that you have: PREFIX becomes a link to it
  PREFIX          an install that is there already: nothing is done
  --from-python   the torch ` + version + ` of the active Python (or of $PYTHON): PREFIX holds links to its files
  --archive       PyTorch's own libtorch archive, CPU only; untested, and its checksum is not pinned
  otherwise       the torch wheel of the package index that pip is configured for, with pinned checksums. The CPU needs
                  a download of 0.55 GB and keeps 0.55 GB; CUDA 2.5 GB and 4 GB. No Python package is installed.

Environment:

  GOCLIP_WHEELS   a directory, or the address of one, that holds the wheels under their own names, for a machine
                  without pip or without a package index
  XDG_CACHE_HOME  downloads are kept in its directory goclip (default ~/.cache): whole ones for the next install,
                  interrupted ones to be continued; remove it when you like`

type commands struct {
	Install installCmd `cmd:"" help:"Install libtorch where goclip's build finds it."`
	Env     envCmd     `cmd:"" help:"Print the environment with which the Go build finds PREFIX, for a shell's eval."`
	Deps    depsCmd    `cmd:"" help:"Check what else the build needs: a C++ compiler, libjpeg-turbo and, in a checkout, make; root installs it with apt-get."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// console is where a command speaks: what it does to out, warnings to err.
type console struct{ out, err io.Writer }

func (c *console) say(format string, args ...any) {
	fmt.Fprintf(c.out, "libtorch: "+format+"\n", args...)
}
func (c *console) warn(format string, args ...any) {
	fmt.Fprintf(c.err, "libtorch: "+format+"\n", args...)
}

// usageError is a fault of the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

func run(args []string, out, errs io.Writer) int {
	c := &console{out, errs}
	exit := -1
	parser, err := kong.New(&commands{}, kong.Name("libtorch"), kong.Description(description), kong.Writers(out, errs),
		kong.Exit(func(code int) { exit = code }))
	if err != nil {
		c.warn("%s", err)
		return 1
	}
	command, err := parser.Parse(args)
	if exit >= 0 { // --help has been printed
		return exit
	}
	if err != nil {
		c.warn("%s; see --help", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	command.BindTo(ctx, (*context.Context)(nil))
	err = command.Run(c)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		c.warn("interrupted; what was downloaded is kept, and the next run continues it")
		return 130
	}
	c.warn("%s", err)
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

// place is a directory that holds libtorch: PREFIX of the help.
type place struct {
	Prefix string `help:"Directory of libtorch (default: third_party/libtorch in a checkout of goclip; elsewhere /usr/local/libtorch if it can be written, else goclip/libtorch in $XDG_DATA_HOME). The build finds the first two automatically; for any other see env." placeholder:"DIR"`
}

// resolve is the prefix as an absolute path; found prefers, of the default places, one that holds
// libtorch already.
func (p place) resolve(found bool) (string, error) {
	if p.Prefix != "" {
		return filepath.Abs(p.Prefix)
	}
	if dir := checkout(); dir != "" {
		return filepath.Join(dir, "third_party", "libtorch"), nil
	}
	data := os.Getenv("XDG_DATA_HOME")
	if data == "" {
		data = filepath.Join(os.Getenv("HOME"), ".local", "share")
	}
	own := filepath.Join(data, "goclip", "libtorch")
	if found && installedVersion(systemPrefix) == "" && installedVersion(own) != "" {
		return own, nil
	}
	if found || installedVersion(systemPrefix) == version || writable(filepath.Dir(systemPrefix)) {
		return systemPrefix, nil
	}
	return own, nil
}

const systemPrefix = "/usr/local/libtorch"

// checkout is the directory of goclip's source that this program is run in, or "".
func checkout() string {
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if isCheckout(dir) {
			return dir
		}
	}
	return ""
}

// isCheckout reports whether dir is goclip's own source.
func isCheckout(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && strings.HasPrefix(string(text), "module github.com/goclip/goclip\n")
}
