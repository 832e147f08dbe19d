package goclip_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// library are the packages that a Go program imports.
var library = []string{"clip", "train", "index", "serve", "torch"}

// sourcesOf parses the packages below dir, without tests.
func sourcesOf(t *testing.T, dir string) (packages map[string][]*ast.File) {
	t.Helper()
	packages = map[string][]*ast.File{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], file)
		return err
	}))
	return packages
}

// TestExportedSignatures: a type that cannot be named cannot be made, kept in a struct or passed on.
func TestExportedSignatures(t *testing.T) {
	for _, dir := range library {
		for pkg, files := range sourcesOf(t, dir) {
			types := map[string]bool{}
			for _, file := range files {
				ast.Inspect(file, func(n ast.Node) bool {
					if spec, ok := n.(*ast.TypeSpec); ok {
						types[spec.Name.Name] = true
					}
					return true
				})
			}
			hidden := func(n ast.Node) (found bool) {
				ast.Inspect(n, func(n ast.Node) bool {
					id, ok := n.(*ast.Ident)
					found = found || ok && !id.IsExported() && types[id.Name]
					return !found
				})
				return found
			}
			for _, file := range files {
				for _, decl := range file.Decls {
					f, ok := decl.(*ast.FuncDecl)
					if !ok || !f.Name.IsExported() || f.Recv != nil && hidden(f.Recv.List[0].Type) {
						continue
					}
					fields := slices.Clone(f.Type.Params.List)
					if f.Type.Results != nil {
						fields = append(fields, f.Type.Results.List...)
					}
					for _, field := range fields {
						assert.False(t, hidden(field.Type), "%s.%s takes or returns a type that is not exported", pkg, f.Name.Name)
					}
				}
			}
		}
	}
}

// TestClipIsSmall counts the types that clip exports.
func TestClipIsSmall(t *testing.T) {
	var names []string
	for _, file := range sourcesOf(t, "clip")["clip"] {
		for _, decl := range file.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				for _, spec := range g.Specs {
					if name := spec.(*ast.TypeSpec).Name; name.IsExported() {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	assert.LessOrEqual(t, len(names), 20, names)
}

// TestLibraryNamesNoFlags: what a library says is for Go programs, whose options are fields.
func TestLibraryNamesNoFlags(t *testing.T) {
	for _, dir := range library {
		for pkg, files := range sourcesOf(t, dir) {
			for _, file := range files {
				ast.Inspect(file, func(n ast.Node) bool {
					if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
						assert.NotRegexp(t, "^[\"`]--[a-z]", text.Value, pkg)
					}
					return true
				})
			}
		}
	}
}
