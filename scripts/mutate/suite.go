package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxMemory is the address space of a run, in KiB: a changed bound may allocate without end.
const maxMemory = 16 << 20

// quick tests run first, in one process.
const quick = 2 * time.Second

// suite is the tests of a package, and which statements of the changed one each of them runs.
type suite struct {
	pkg   string // of the tests
	only  string // a regular expression of their names
	tmp   string
	dir   string // where the tests run, in a copy of the checkout: a changed program may write anywhere
	tests []test // the fastest first
}

type test struct {
	name   string
	took   time.Duration
	blocks map[string][]block // by the file's name
}

// block is a part of a file that ran, from a line and column to others.
type block struct{ fromLine, fromColumn, toLine, toColumn int }

// learn runs each test alone and keeps what it covers of the package in dir. Parts that only a
// process of a test runs are missing.
func (s *suite) learn(dir string) error {
	out, err := exec.Command("go", "list", "-f", "{{.Module.Dir}}\n{{.Dir}}", s.pkg).Output()
	if err != nil {
		return fmt.Errorf("go list %s: %w", s.pkg, err)
	}
	root, pkg, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	tree := filepath.Join(s.tmp, "tree")
	const copied = `mkdir "$0" && git ls-files -z | tar -c --null -T - | tar -x -C "$0" && ln -s "$PWD/third_party" "$0/third_party"`
	cp := exec.Command("sh", "-c", copied, tree)
	cp.Dir = root
	if out, err := cp.CombinedOutput(); err != nil {
		return fmt.Errorf("the checkout could not be copied: %w\n%s", err, out)
	}
	s.dir = filepath.Join(tree, strings.TrimPrefix(pkg, root))
	binary := filepath.Join(s.tmp, "covered")
	if out, err := exec.Command("go", "test", "-c", "-cover", "-coverpkg", "./"+dir, "-o", binary, s.pkg).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	list, err := s.start(time.Minute, binary, "-test.list", cmp.Or(s.only, "."))
	if err != nil {
		return fmt.Errorf("%w\n%s", err, list)
	}
	profile := filepath.Join(s.tmp, "profile")
	for _, name := range strings.Fields(list) {
		if strings.HasPrefix(name, "Benchmark") {
			continue
		}
		began := time.Now()
		if out, err := s.start(15*time.Minute, binary, "-test.run", "^"+name+"$", "-test.coverprofile", profile); err != nil {
			return fmt.Errorf("%s fails without a change: %w\n%s", name, err, out)
		}
		t := test{name, time.Since(began), map[string][]block{}}
		if err := t.read(profile); err != nil {
			return err
		}
		s.tests = append(s.tests, t)
	}
	slices.SortFunc(s.tests, func(a, b test) int { return cmp.Compare(a.took, b.took) })
	return nil
}

var profileLine = regexp.MustCompile(`^(.+):(\d+)\.(\d+),(\d+)\.(\d+) \d+ (\d+)$`)

func (t *test) read(profile string) error {
	f, err := os.Open(profile)
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		m := profileLine.FindStringSubmatch(lines.Text())
		if m == nil || m[6] == "0" {
			continue
		}
		var b block
		if _, err := fmt.Sscan(strings.Join(m[2:6], " "), &b.fromLine, &b.fromColumn, &b.toLine, &b.toColumn); err != nil {
			return err
		}
		t.blocks[path.Base(m[1])] = append(t.blocks[path.Base(m[1])], b)
	}
	return nil
}

// runs reports whether the test comes to a change.
func (t *test) runs(c change) bool {
	return slices.ContainsFunc(t.blocks[filepath.Base(c.path)], func(b block) bool {
		return (b.fromLine < c.line || b.fromLine == c.line && b.fromColumn <= c.column) && (c.line < b.toLine || c.line == b.toLine && c.column <= b.toColumn)
	})
}

type verdict int

const (
	uncompiled verdict = iota
	noticed
	unnoticed
)

// judge builds the tests with a change and runs those that come to it, the quick ones first, then
// all: a process of a test may come to it too.
func (s *suite) judge(c change) (verdict, error) {
	binary, err := s.build(c)
	if err != nil || binary == "" {
		return uncompiled, err
	}
	var groups [2][]string
	var took [2]time.Duration
	for _, t := range s.tests {
		if t.runs(c) {
			i := 0
			if t.took > quick {
				i = 1
			}
			groups[i], took[i] = append(groups[i], t.name), took[i]+t.took
		}
	}
	for i, names := range groups {
		if len(names) > 0 && s.fails(binary, took[i], "^("+strings.Join(names, "|")+")$") {
			return noticed, nil
		}
	}
	var all time.Duration
	for _, t := range s.tests {
		all += t.took
	}
	if s.fails(binary, all, cmp.Or(s.only, ".")) {
		return noticed, nil
	}
	return unnoticed, nil
}

// fails runs tests that take so long without a change: a loop without an end is noticed.
func (s *suite) fails(binary string, took time.Duration, names string) bool {
	_, err := s.start(30*time.Second+5*took, binary, "-test.failfast", "-test.run", names)
	return err != nil
}

// build compiles the tests with a change: no file of the package is written. It returns "" if the
// change does not compile.
func (s *suite) build(c change) (string, error) {
	source, err := os.ReadFile(c.path)
	if err != nil {
		return "", err
	}
	absolute, err := filepath.Abs(c.path)
	if err != nil {
		return "", err
	}
	changed, overlay, binary := filepath.Join(s.tmp, "changed.go"), filepath.Join(s.tmp, "overlay.json"), filepath.Join(s.tmp, "changed")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {absolute: changed}})
	if err != nil {
		return "", err
	}
	source = slices.Concat(source[:c.from], []byte(c.new), source[c.to:])
	if err := errors.Join(os.WriteFile(changed, source, 0o600), os.WriteFile(overlay, list, 0o600)); err != nil {
		return "", err
	}
	if exec.Command("go", "test", "-c", "-vet=off", "-ldflags", "-s -w", "-overlay", overlay, "-o", binary, s.pkg).Run() != nil {
		return "", nil
	}
	return binary, nil
}

// start runs a test binary in its package's directory.
func (s *suite) start(limit time.Duration, binary string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, maxMemory), binary}, args...)...)
	cmd.Dir, cmd.WaitDelay = s.dir, time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
