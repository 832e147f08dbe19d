package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const minGlibc = "2.28"

// output runs a program and gives what it printed, without the last newline; "" if it failed.
func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func has(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// checkPlatform gives the machine as wheels name it, or says why no libtorch can run here.
func checkPlatform(ctx context.Context) (machine string, err error) {
	if system := output(ctx, "uname", "-s"); system != "Linux" {
		return "", fmt.Errorf("this is %s; goclip's libtorch is for Linux", system)
	}
	switch m := output(ctx, "uname", "-m"); m {
	case "x86_64", "amd64":
		machine = "x86_64"
	case "aarch64", "arm64":
		machine = "aarch64"
	default:
		return "", fmt.Errorf("this machine is %s; libtorch %s exists for x86_64 and aarch64", m, version)
	}
	glibc, ok := strings.CutPrefix(output(ctx, "getconf", "GNU_LIBC_VERSION"), "glibc ")
	if !ok {
		return "", fmt.Errorf("this system has no glibc (musl, perhaps); libtorch %s needs glibc %s or newer", version, minGlibc)
	}
	if !atLeast(glibc, minGlibc) {
		return "", fmt.Errorf("this system has glibc %s; libtorch %s needs %s or newer (Debian 10, Ubuntu 20.04, RHEL 8)", glibc, version, minGlibc)
	}
	return machine, nil
}

// atLeast reports whether the first of two dotted versions is the second or a later one.
func atLeast(have, want string) bool {
	h, w := strings.Split(have, "."), strings.Split(want, ".")
	for i := range w {
		if i >= len(h) {
			return false
		}
		a, _ := strconv.Atoi(h[i])
		b, _ := strconv.Atoi(w[i])
		if a != b {
			return a > b
		}
	}
	return true
}

// hasGPU reports whether an NVIDIA device is there, whether or not its driver answers.
func hasGPU(ctx context.Context) bool {
	if _, err := os.Stat("/dev/nvidia0"); err == nil {
		return true
	}
	return exec.CommandContext(ctx, "nvidia-smi", "-L").Run() == nil
}

// checkSpace fails unless the file system of dir, which need not exist yet, has need megabytes
// free.
func checkSpace(ctx context.Context, dir string, need int64, what, setting string) error {
	for !isDir(dir) {
		dir = filepath.Dir(dir)
	}
	lines := strings.Split(output(ctx, "df", "-Pk", dir), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) < 4 {
		return fmt.Errorf("df -Pk %s does not say how much space is free", dir)
	}
	kilobytes, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil {
		return fmt.Errorf("df -Pk %s does not say how much space is free: %w", dir, err)
	}
	if free := kilobytes / 1024; free < need {
		return fmt.Errorf("%s needs %d MB in %s, which has %d MB free; free some space, or choose another place with %s", what, need, dir, free, setting)
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func writable(dir string) bool { return unix.Access(dir, unix.W_OK) == nil }
