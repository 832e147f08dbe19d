// Command mutate changes a package, or one file, in one place at a time and sees whether its tests
// notice.
//
// usage: go run ./scripts/mutate [-seed N] [-n N] [-tests PACKAGE] [-run REGEXP] [-skip REGEXP] [-known FILE] PACKAGE_DIR|FILE.go...
//
// A seed draws n changes among all of a package: a comparison or an operator becomes another, a
// condition its opposite, an error that is returned nil, a number one more, a call nothing. The tests
// that come to the changed statement run first, the fastest before the others, then all of them. No
// file is written (go test -overlay). Changes that do not compile are not counted. Those that alter
// nothing are listed in FILE, a line each as printed. Exit status 1 if one survived.
package main

import (
	"cmp"
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
	"regexp"
	"strconv"
	"strings"
	"time"
)

// change puts text in the place of what lies between two offsets of a file.
type change struct {
	path, function string
	source         string // the line that it begins in
	from, to       int
	old, new       string

	line, column int
}

// String is the same after lines were moved.
func (c change) String() string {
	join := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	return fmt.Sprintf("%s: %s: %s: %s => %s", c.path, c.function, join(c.source), join(c.old), join(c.new))
}

var others = map[token.Token]string{
	token.EQL: "!=", token.NEQ: "==", token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">",
	token.LAND: "||", token.LOR: "&&", token.ADD: "-", token.SUB: "+", token.MUL: "/", token.QUO: "*",
}

func main() {
	seed := flag.Uint64("seed", 1, "of the draw")
	n := flag.Int("n", 30, "changes of each package")
	tests := flag.String("tests", "", "the package whose tests run, where it is another")
	run := flag.String("run", "", "which tests, as of go test")
	skip := flag.String("skip", "^$", "files to leave out, such as those whose tests do not run here")
	known := flag.String("known", "scripts/mutate/equivalent.txt", "changes that alter nothing")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "mutate: name a package's directory or a file")
		os.Exit(2)
	}
	survived := 0
	for _, arg := range flag.Args() {
		left, err := mutate(filepath.Clean(arg), *skip, &suite{pkg: cmp.Or(*tests, "./"+packageOf(arg)), only: *run}, *seed, *n, *known)
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

// packageOf is the directory of a package that is named by it or by a file.
func packageOf(arg string) string {
	if strings.HasSuffix(arg, ".go") {
		return filepath.Dir(arg)
	}
	return filepath.Clean(arg)
}

// mutate tells how many changes of a package, or of a file, survive its tests.
func mutate(dir, skip string, tests *suite, seed uint64, n int, known string) (survived int, err error) {
	text, err := os.ReadFile(known)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	equivalent := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		equivalent[strings.TrimSpace(line)] = true
	}
	all, err := changes(dir, skip)
	if err != nil {
		return 0, err
	}
	if tests.tmp, err = os.MkdirTemp("", "mutate"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(tests.tmp)
	if err := tests.learn(packageOf(dir)); err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
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
		v, err := tests.judge(c)
		if err != nil {
			return survived, err
		}
		switch v {
		case noticed:
			killed++
			fmt.Printf("noticed   %s (line %d)\n", c, c.line)
		case unnoticed:
			survived++
			fmt.Printf("survived  %s (line %d)\n", c, c.line)
		}
	}
	fmt.Printf("%s: seed %d: %d of %d changes noticed, %d of the draw alter nothing, %s\n", dir, seed, killed, killed+survived, same, time.Since(began).Round(time.Second))
	return survived, nil
}

// changes are all that can be made in a package.
func changes(dir, skip string) (all []change, err error) {
	left, err := regexp.Compile(skip)
	if err != nil {
		return nil, err
	}
	files := []string{dir}
	if !strings.HasSuffix(dir, ".go") { // those of this platform and of no build tag
		out, err := exec.Command("go", "list", "-f", `{{join .GoFiles "\n"}}{{"\n"}}{{join .CgoFiles "\n"}}`, "./"+dir).Output()
		if err != nil {
			return nil, fmt.Errorf("go list ./%s: %w", dir, err)
		}
		files = strings.Fields(string(out))
		for i, name := range files {
			files[i] = filepath.Join(dir, name)
		}
	}
	for _, path := range files {
		if left.MatchString(path) {
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
		function, lines := "", strings.Split(string(source), "\n")
		at := func(p token.Pos) int { return set.Position(p).Offset }
		put := func(from, to token.Pos, text string) {
			old := string(source[at(from):at(to)])
			where := set.Position(from)
			all = append(all, change{path, function, lines[where.Line-1], at(from), at(to), old, text, where.Line, where.Column})
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				function = f.Name.Name
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
