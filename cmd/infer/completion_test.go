package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/models"
)

// TestManual holds the completions and the man page against what the parser takes: every command,
// flag, value and argument is in them, and every command has examples.
func TestManual(t *testing.T) {
	parser, err := kong.New(&commands{}, kong.Name("infer"), kong.Vars{"version": "", "excluded": "", "partSize": ""})
	require.NoError(t, err)
	code, page, errs := infer(t, "", "man")
	require.Zero(t, code, errs)
	scripts := map[string]string{}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, scripts[shell], errs = infer(t, "", "completion", shell)
		require.Zero(t, code, errs)
		tells(t, scripts[shell], " "+models.Default+" ")
		for _, name := range append(tower.ConfigNames(), "laion2b_s34b_b79k") {
			tells(t, scripts[shell], name)
		}
		if _, err := exec.LookPath(shell); err == nil {
			check := exec.Command(shell, "-n")
			check.Stdin = strings.NewReader(scripts[shell])
			out, err := check.CombinedOutput()
			assert.NoError(t, err, "%s -n: %s", shell, out)
		}
	}
	for _, c := range parser.Model.Children {
		if c.Hidden {
			continue
		}
		assert.Contains(t, page, "\n.SS infer "+c.Name+"\n")
		_, section, _ := strings.Cut(page, "\n.SS infer "+c.Name+"\n")
		section, _, _ = strings.Cut(section, "\n.S")
		tells(t, section, "\n  infer ") // an example
		for _, f := range c.Flags {
			tells(t, section, `\fB\-\-`+strings.ReplaceAll(f.Name, "-", `\-`)+`\fR`)
			tells(t, scripts["bash"], "--"+f.Name)
			tells(t, scripts["zsh"], "--"+f.Name)
			tells(t, scripts["fish"], " -l "+f.Name+" ")
			if f.Enum != "" {
				tells(t, scripts["bash"], strings.TrimSpace(strings.Join(f.EnumSlice(), " "))) // "" is no value to complete
			}
		}
		for _, a := range c.Positional {
			tells(t, section, `\fI`+a.Name+`\fR`)
		}
	}
	code, _, errs = infer(t, "", "completion", "tcsh")
	assert.Equal(t, 2, code)
	assert.Contains(t, oneLine(t, errs), "must be one of")
}

// tells is assert.Contains without a page of text in its message.
func tells(t *testing.T, text, part string) {
	t.Helper()
	assert.True(t, strings.Contains(text, part), "%q is missing", part)
}
