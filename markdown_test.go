package goclip_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notWord = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// modelsTable begins the table of docs/models.md, which infer models writes to its end.
const modelsTable = "| model | tag | parameters | image | ImageNet | license | parity | hub |"

// TestMarkdown holds every document to 100 columns, except code and tables that programs write, and
// its links to files and headings that exist.
func TestMarkdown(t *testing.T) {
	for _, name := range tracked(t) {
		if filepath.Ext(name) != ".md" {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		free := false // in code, and in tables that programs write
		for i, line := range strings.Split(string(text), "\n") {
			switch {
			case strings.HasPrefix(line, "```"):
				free = !free
			case strings.HasPrefix(line, "<!-- begin"), line == "<!-- table -->", line == modelsTable:
				free = true
			case strings.HasPrefix(line, "<!-- end"):
				free = false
			}
			if free {
				continue
			}
			assert.LessOrEqual(t, utf8.RuneCountInString(line), 100, "%s:%d: the columns of %q", name, i+1, line)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			page := name
			if target != "" {
				page = filepath.Join(filepath.Dir(name), target)
			}
			if _, err := os.Stat(page); !assert.NoError(t, err, "%s links to %s", name, m[1]) || anchor == "" {
				continue
			}
			linked, err := os.ReadFile(page)
			require.NoError(t, err)
			assert.Contains(t, anchors(string(linked)), anchor, "%s links to %s", name, m[1])
		}
	}
}

// anchors are the names by which headings are linked to.
func anchors(text string) []string {
	var names []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		name := notWord.ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(strings.TrimSpace(name), " ", "-"))
	}
	return names
}

// tracked lists the repository's files; without git, those of a module's own directory.
func tracked(t *testing.T) []string {
	out, err := exec.Command("git", "ls-files").Output()
	if err != nil {
		t.Skip("this is not a checkout of git")
	}
	var names []string
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSuffix(name, "\n")
		if _, err := os.Stat(name); err == nil && !strings.HasPrefix(name, "testdata/") {
			names = append(names, name)
		}
	}
	return names
}
