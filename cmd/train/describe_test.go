package main

import (
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDescribe holds the completions and the man page against what the parser takes.
func TestDescribe(t *testing.T) {
	parser, err := kong.New(&commandLine{}, kong.Name("train"), kong.Vars{"version": ""})
	require.NoError(t, err)
	texts := map[string]string{}
	for _, flag := range []string{"--man", "--completion=bash", "--completion=zsh", "--completion=fish"} {
		var out strings.Builder
		require.Zero(t, run([]string{flag}, &out, os.Stderr))
		texts[strings.TrimPrefix(flag, "--completion=")] = out.String()
	}
	for _, f := range parser.Model.Flags {
		if f.Hidden {
			continue
		}
		tells(t, texts["--man"], `\fB\-\-`+strings.ReplaceAll(f.Name, "-", `\-`)+`\fR`)
		tells(t, texts["bash"], "--"+f.Name)
		tells(t, texts["zsh"], "--"+f.Name)
		tells(t, texts["fish"], " -l "+f.Name+" ")
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		for _, word := range []string{"ViT-B-32", "openai", "pure_bf16", "const-cooldown", "webdataset"} {
			tells(t, texts[shell], word)
		}
	}
	tells(t, texts["--man"], "\n  train \\-\\-model emoji\\-64")
}

// tells is assert.Contains without a page of text in its message.
func tells(t *testing.T, text, part string) {
	t.Helper()
	assert.True(t, strings.Contains(text, part), "%q is missing", part)
}
