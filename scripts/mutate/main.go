// Command mutate changes a package, or one file, in one place at a time and sees whether its tests
// notice.
//
// usage: go run ./scripts/mutate [-seed N] [-n N] [-timeout D] [-tests PACKAGE] [-run REGEXP] [-known FILE] PACKAGE_DIR|FILE.go...
//
// A seed draws n changes among all of a package: a comparison or an operator becomes another, a
// condition its opposite, an error that is returned nil, a number one more, a call nothing. The tests
// run on a copy (go test -overlay): no file is written. Changes that do not compile are not counted.
// Those that alter nothing are listed in FILE, a line each as printed. Exit status 1 if one survived.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// change puts text in the place of what lies between two offsets of a file.
type change struct {
	path     string
	from, to int
	old, new string
	line     int
}

// String is the same after lines were moved.
func (c change) String() string {
	return fmt.Sprintf("%s: %s => %s", c.path, strings.Join(strings.Fields(c.old), " "), c.new)
}

var others = map[token.Token]string{
	token.EQL: "!=", token.NEQ: "==", token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">",
	token.LAND: "||", token.LOR: "&&", token.ADD: "-", token.SUB: "+", token.MUL: "/", token.QUO: "*",
}

func main() {
	seed := flag.Uint64("seed", 1, "of the draw")
	n := flag.Int("n", 30, "changes of each package")
	timeout := flag.Duration("timeout", 5*time.Minute, "of a run of the tests")
	tests := flag.String("tests", "", "the package whose tests run, where it is another")
	run := flag.String("run", "", "which tests, as of go test")
	known := flag.String("known", "scripts/mutate/equivalent.txt", "changes that alter nothing")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "mutate: name a package's directory or a file")
		os.Exit(2)
	}
	survived := 0
	for _, arg := range flag.Args() {
		dir := filepath.Clean(arg)
		if strings.HasSuffix(dir, ".go") {
			dir = filepath.Dir(dir)
		}
		left, err := mutate(filepath.Clean(arg), suite{cmp.Or(*tests, "./"+dir), *run, *timeout}, *seed, *n, *known)
		if err != nil {
			fmt.Fprintln(os.Stderr, "mutate:", err)
			os.Exit(1)
		}
		survived += left
	}
	if survived > 0 {
		os.Exit(1)
	}
}

// suite is the tests that should notice.
type suite struct {
	pkg, run string
	timeout  time.Duration
}

// mutate tells how many changes of a package, or of a file, survive its tests.
func mutate(dir string, tests suite, seed uint64, n int, known string) (survived int, err error) {
	text, err := os.ReadFile(known)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	equivalent := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		equivalent[strings.TrimSpace(line)] = true
	}
	all, err := changes(dir)
	if err != nil {
		return 0, err
	}
	if out, failed := tests.test(nil); failed != nil {
		return 0, fmt.Errorf("%s: its tests fail as it is: %w\n%s", dir, failed, out)
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	began, killed, same := time.Now(), 0, 0
	for _, c := range all {
		if killed+survived == n {
			break
		}
		if equivalent[c.String()] {
			same++
			continue
		}
		out, err := tests.test(&c)
		switch {
		case err == nil:
			survived++
			fmt.Printf("survived  %s (line %d)\n", c, c.line)
		case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		default:
			killed++
		}
	}
	fmt.Printf("%s: seed %d: %d of %d changes noticed, %d of the draw alter nothing, %s\n", dir, seed, killed, killed+survived, same, time.Since(began).Round(time.Second))
	return survived, nil
}

// test runs them with a change, or without.
func (s suite) test(c *change) (string, error) {
	args := []string{"test", "-count", "1", "-failfast", "-timeout", s.timeout.String(), "-run", s.run}
	if c != nil {
		tmp, err := os.MkdirTemp("", "mutate")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(tmp)
		source, err := os.ReadFile(c.path)
		if err != nil {
			return "", err
		}
		changed, overlay := filepath.Join(tmp, "changed.go"), filepath.Join(tmp, "overlay.json")
		absolute, err := filepath.Abs(c.path)
		if err != nil {
			return "", err
		}
		list, err := json.Marshal(map[string]map[string]string{"Replace": {absolute: changed}})
		if err != nil {
			return "", err
		}
		source = append(append(append([]byte{}, source[:c.from]...), c.new...), source[c.to:]...)
		if err := errors.Join(os.WriteFile(changed, source, 0o600), os.WriteFile(overlay, list, 0o600)); err != nil {
			return "", err
		}
		args = append(args, "-overlay", overlay)
	}
	out, err := exec.Command("go", append(args, s.pkg)...).CombinedOutput()
	return string(out), err
}

// changes are all that can be made in a package.
func changes(dir string) (all []change, err error) {
	files := []string{dir}
	if !strings.HasSuffix(dir, ".go") {
		if files, err = filepath.Glob(filepath.Join(dir, "*.go")); err != nil {
			return nil, err
		}
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, source, 0)
		if err != nil {
			return nil, err
		}
		at := func(p token.Pos) int { return set.Position(p).Offset }
		put := func(from, to token.Pos, text string) {
			old := string(source[at(from):at(to)])
			all = append(all, change{path, at(from), at(to), old, text, set.Position(from).Line})
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				ast.Inspect(f.Body, func(n ast.Node) bool {
					changesOf(n, put, func(n ast.Node) string { return string(source[at(n.Pos()):at(n.End())]) })
					return true
				})
			}
		}
	}
	return all, nil
}

func changesOf(n ast.Node, put func(from, to token.Pos, text string), text func(n ast.Node) string) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if other := others[n.Op]; other != "" {
			put(n.Pos(), n.End(), text(n.X)+" "+other+" "+text(n.Y))
		}
	case *ast.IfStmt:
		put(n.Cond.Pos(), n.Cond.End(), "!("+text(n.Cond)+")")
	case *ast.BasicLit:
		if v, err := strconv.ParseInt(n.Value, 0, 64); n.Kind == token.INT && err == nil {
			put(n.Pos(), n.End(), strconv.FormatInt(v+1, 10))
		}
	case *ast.ExprStmt:
		if _, call := n.X.(*ast.CallExpr); call {
			put(n.Pos(), n.End(), "")
		}
	case *ast.ReturnStmt:
		if len(n.Results) == 0 {
			return
		}
		last := n.Results[len(n.Results)-1]
		if id, ok := last.(*ast.Ident); ok && id.Name == "err" {
			put(last.Pos(), last.End(), "nil")
		}
		if call, ok := last.(*ast.CallExpr); ok && strings.HasSuffix(text(call.Fun), "Errorf") {
			put(last.Pos(), last.End(), "nil")
		}
	}
}
