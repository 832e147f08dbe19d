package goclip_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unclear are words and turns of phrase that slow a reader down, and what to write instead.
var unclear = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\bwanted\b`), "must be, is required, expected"},
	{regexp.MustCompile(`\bwants\b`), "requires, needs, expects"},
	{regexp.MustCompile(`(?i)\bpictures?\b`), "image"},
	{regexp.MustCompile(`(?i)\b(held-out|drawing|other|its|each) hands?\b|\bhands? (that|which) draws?`), "style"},
	{regexp.MustCompile(`(?i)\b(shares?) of\b`), "fraction of, part of, probability"},
	{regexp.MustCompile(`\ball the same\b`), "still, nevertheless; equal"},
	{regexp.MustCompile(`\ball the while\b`), "throughout, meanwhile"},
	{regexp.MustCompile(`\bby itself\b`), "automatically, separately, alone"},
	{regexp.MustCompile(`\b(says|say|tells) of (itself|themselves)\b`), "describes, reports"},
	{regexp.MustCompile(`\banew\b`), "again, from the start"},
	{regexp.MustCompile(`\b(goes|go|gone|went) on\b`), "continues, resumes"},
	{regexp.MustCompile(`\bby turns\b`), "alternating"},
	{regexp.MustCompile(`\btells (whether|if|that)\b`), "reports whether"},
	{regexp.MustCompile(`(?i)\b(are|is|was|were) told\b`), "is reported"},
	{regexp.MustCompile(`\b(ends?|begins?|laid out|done|is|are|was|them) so[.;:,]`), "name what it is"},
	{regexp.MustCompile(`\bguess(es|ed|ing)?\b`), "prediction; chance level"},
	{regexp.MustCompile(`(?i)\bwho knows\b|\bwhoever\b`), "say who must do what"},
	{regexp.MustCompile(`\bnought\b|\bnowhere near\b|\bought\b|\bin vain\b|\bthereof\b|\bwherein\b`), "modern words"},
	{regexp.MustCompile(`\bmend(s|ed|ing)?\b`), "fix, repair"},
	{regexp.MustCompile(`\b(for|to|of|from|by) who\b`), "for a user who"},
	{regexp.MustCompile(`\b(it|which|that|what) is no (number|list|file|index|terminal|JSON|image|pair)\b`), "is not a"},
}

// clear are words in their own meaning, which the patterns of unclear would find.
var clear = []string{
	"a picture of",                                                                                      // a template of captions
	"pictures.db", "FROM pictures", "INTO pictures", "TABLE pictures", "UPDATE pictures", "TO pictures", // an index's database
	"preprocess/pictures",   // test data
	"told apart", "told to", // to distinguish, to order
}

// names are what a declared name must not look like.
var names = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`^(most|least)[A-Z]`), "max, min"},
	{regexp.MustCompile(`[Pp]icture`), "image"},
	{regexp.MustCompile(`Wanted$`), "the thing that is required"},
}

// TestWords holds what readers see to plain words: strings, comments and declared names of the
// program, its help and page, scripts and documents.
func TestWords(t *testing.T) {
	fset := token.NewFileSet()
	for _, name := range tracked(t) {
		switch base := filepath.Base(name); {
		case strings.HasSuffix(name, "_gen.go"), strings.HasPrefix(name, "data/"), base == "words_test.go":
		case filepath.Ext(name) == ".go":
			checkGo(t, fset, name)
		case filepath.Ext(name) == ".md", filepath.Ext(name) == ".html", filepath.Ext(name) == ".js", filepath.Ext(name) == ".sh",
			filepath.Ext(name) == ".yaml", filepath.Ext(name) == ".h", filepath.Ext(name) == ".cpp", filepath.Ext(name) == ".c",
			base == "Makefile", base == "Dockerfile":
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			checkWords(t, name, 1, string(text))
		}
	}
}

func checkGo(t *testing.T, fset *token.FileSet, name string) {
	f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
	require.NoError(t, err)
	declared := func(id *ast.Ident) {
		for _, n := range names {
			assert.NotRegexp(t, n.pattern, id.Name, "%s: the name %s; write %s", fset.Position(id.Pos()), id.Name, n.instead)
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			declared(d.Name)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					declared(s.Name)
				case *ast.ValueSpec:
					for _, id := range s.Names {
						declared(id)
					}
				}
			}
		}
	}
	if strings.HasSuffix(name, "_test.go") {
		return // what tests expect stands in the program, too
	}
	for _, group := range f.Comments {
		var lines []string
		for _, c := range group.List {
			lines = append(lines, c.Text)
		}
		checkWords(t, name, fset.Position(group.Pos()).Line, strings.Join(lines, "\n"))
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			checkWords(t, name, fset.Position(lit.Pos()).Line, lit.Value)
		}
		return true
	})
}

// checkWords looks for unclear words in text, whose first line has the number first, also where a
// line breaks between them.
func checkWords(t *testing.T, name string, first int, text string) {
	var joined strings.Builder
	var ends []int // of each line in joined
	for line := range strings.Lines(text) {
		joined.WriteString(strings.TrimSpace(commentMark.ReplaceAllString(line, "")) + " ")
		ends = append(ends, joined.Len())
	}
	whole := joined.String()
	for _, c := range clear {
		whole = strings.ReplaceAll(whole, c, strings.Repeat("_", len(c)))
	}
	for _, u := range unclear {
		for _, at := range u.pattern.FindAllStringIndex(whole, -1) {
			line := first + sort.SearchInts(ends, at[0]+1)
			assert.Fail(t, "an unclear word", "%s:%d: %q; write %s: ...%s", name, line, whole[at[0]:at[1]], u.instead, whole[max(0, at[0]-40):min(len(whole), at[1]+40)])
		}
	}
}

var commentMark = regexp.MustCompile(`^\s*(//|#|\*)\s?`)
