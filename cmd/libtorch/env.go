package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

type envCmd struct{ place }

// Run prints shell lines with which the Go build finds the prefix.
func (e *envCmd) Run(_ context.Context, c *console) error {
	prefix, err := e.resolve(true)
	if err != nil {
		return err
	}
	if installedVersion(prefix) != version {
		return fmt.Errorf("%s has no libtorch %s; install it first", prefix, version)
	}
	if knownToBuild(prefix) {
		fmt.Fprintf(c.out, "# goclip's build finds %s\n", prefix)
		return nil
	}
	lines, err := environment(prefix)
	if err == nil {
		fmt.Fprint(c.out, lines)
	}
	return err
}

// knownToBuild reports whether goclip's own build flags (csrc/csrc.go) name the prefix.
func knownToBuild(prefix string) bool {
	dir := filepath.Dir(prefix)
	return prefix == systemPrefix ||
		filepath.Base(prefix) == "libtorch" && filepath.Base(dir) == "third_party" && isCheckout(filepath.Dir(dir))
}

// environment is shell lines. Go splits these variables at spaces and understands single quotes.
// The headers go to the preprocessor's flags, as the check that they are there is written in C.
func environment(prefix string) (string, error) {
	if strings.ContainsAny(prefix, "'\"$`\\,") {
		return "", fmt.Errorf("%s: choose a path without quotes, commas, dollar signs or backslashes", prefix)
	}
	q := ""
	if strings.ContainsAny(prefix, " \t\n") {
		q = "'"
	}
	flag := func(f, dir string) string { return q + f + prefix + dir + q }
	return fmt.Sprintf("export CGO_CPPFLAGS=\"%s %s ${CGO_CPPFLAGS:-}\"\nexport CGO_LDFLAGS=\"%s %s %s ${CGO_LDFLAGS:-}\"\n",
		flag("-isystem", "/include"), flag("-isystem", "/include/torch/csrc/api/include"),
		flag("-L", "/lib"), flag("-Wl,-rpath,", "/lib"), flag("-Wl,-rpath-link,", "/lib")), nil
}

// sayHowFound says, of a place that the build does not look in, what the build needs to find it.
func (c *console) sayHowFound(prefix string) error {
	if knownToBuild(prefix) {
		return nil
	}
	lines, err := environment(prefix)
	if err != nil {
		return err
	}
	c.say("the Go build finds it with this environment, which `env --prefix %s` prints again:", prefix)
	fmt.Fprint(c.out, lines)
	return nil
}
