package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

type depsCmd struct{}

// Run installs, as root, the parts of the build that are missing, or says how to.
func (depsCmd) Run(ctx context.Context, c *console) error {
	missing := missingParts(ctx)
	if len(missing) > 0 {
		if err := installParts(ctx, c, missing); err != nil {
			return err
		}
	}
	if missing = missingParts(ctx); len(missing) > 0 {
		return fmt.Errorf("still missing: %s", packageCommand(missing))
	}
	c.say("the build has what it needs: C++ compiler, libjpeg-turbo, %s", runtime.Version())
	return nil
}

// missingParts lists what the build needs and does not find.
func missingParts(ctx context.Context) []string {
	var missing []string
	if !has(program("CXX", "g++")) {
		missing = append(missing, "c++")
	}
	if checkout() != "" && !has("make") {
		missing = append(missing, "make")
	}
	if !hasJPEG(ctx) {
		missing = append(missing, "jpeg")
	}
	return missing
}

// program is the first word of a variable that names a compiler and perhaps its flags.
func program(variable, otherwise string) string {
	if words := strings.Fields(os.Getenv(variable)); len(words) > 0 {
		return words[0]
	}
	return otherwise
}

// hasJPEG asks the compiler, which knows where this system keeps headers; without one, the usual
// places.
func hasJPEG(ctx context.Context) bool {
	cc := strings.Fields(os.Getenv("CC"))
	if len(cc) == 0 {
		cc = []string{"gcc"}
	}
	if !has(cc[0]) {
		return exists("/usr/include/jpeglib.h") || exists("/usr/local/include/jpeglib.h")
	}
	compile := exec.CommandContext(ctx, cc[0], append(cc[1:], "-E", "-x", "c", "-")...)
	compile.Stdin = strings.NewReader("#include <stdio.h>\n#include <jpeglib.h>\n")
	return compile.Run() == nil
}

// packageCommand turns parts into one command of this system's package manager; where it is none
// that we know, into words.
func packageCommand(parts []string) string {
	managers := []struct {
		program, command, separator string
		names                       map[string]string
	}{
		{"apt-get", "apt-get install -y --no-install-recommends ", " ",
			map[string]string{"c++": "g++", "jpeg": "libjpeg-dev", "venv": "python3-venv"}},
		{"dnf", "dnf install -y ", " ",
			map[string]string{"c++": "gcc-c++", "jpeg": "libjpeg-turbo-devel", "venv": "python3-pip"}},
		{"", "", ", ",
			map[string]string{"c++": "a C++17 compiler", "jpeg": "libjpeg-turbo with its headers", "venv": "Python 3 with pip"}},
	}
	i := 0
	for managers[i].program != "" && !has(managers[i].program) {
		i++
	}
	names := make([]string, len(parts))
	for j, part := range parts {
		names[j] = part
		if name, ok := managers[i].names[part]; ok {
			names[j] = name
		}
	}
	return managers[i].command + strings.Join(names, managers[i].separator)
}

// installParts gets parts with apt-get where it may (root on Debian or Ubuntu); else it fails with
// the command to type.
func installParts(ctx context.Context, c *console, parts []string) error {
	command := packageCommand(parts)
	if os.Getuid() != 0 {
		return fmt.Errorf("this needs, once: sudo %s", command)
	}
	if !strings.HasPrefix(command, "apt-get") {
		return fmt.Errorf("this needs, once: %s", command)
	}
	c.say("%s", command)
	install := func() ([]byte, error) {
		words := strings.Fields(command)
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		return cmd.CombinedOutput()
	}
	// The lists may be absent (a fresh container) or old: fetch them only when the first try fails.
	log, err := install()
	if err != nil {
		_ = exec.CommandContext(ctx, "apt-get", "update").Run()
		log, err = install()
	}
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(log)), "\n")
		fmt.Fprintln(c.err, strings.Join(lines[max(0, len(lines)-5):], "\n"))
		return fmt.Errorf("apt-get could not install them (its last lines are above); check the network and try: %s", command)
	}
	return nil
}
