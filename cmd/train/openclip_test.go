package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// remarks are what docs/training.md says of flags that are done.
var remarks = map[string]string{
	"aug-cfg":           "`use_timm` and random erasing are refused",
	"cache-dir":         "unpacked shards lie there, too",
	"dataset-type":      "jsonl, parquet, imagefolder and pairs besides",
	"device":            "auto by default; `cuda` without a GPU is an error",
	"dist-backend":      "gloo and nccl",
	"dist-url":          "tcp://HOST:PORT, env://",
	"force-image-size":  "square images",
	"imagenet-val":      "any folder of classes",
	"logs":              "`none` keeps nothing",
	"lr":                "1e-5 by default if trained weights are fine-tuned",
	"opt":               "adamw; timm's are refused",
	"precision":         "auto by default; pure_fp16 is refused",
	"pretrained":        "a directory, and random, besides",
	"report-to":         "tensorboard; wandb is refused, with a way to upload the event files",
	"resume":            "latest, or goclip's own directories; a .pt of open_clip goes to `--pretrained`",
	"save-most-recent":  "checkpoints/latest is always written",
	"train-num-samples": "a shard's samples are counted without it",
	"warmup":            "a tenth of the run by default, at most 10000 steps",
	"wd":                "0.1 by default if trained weights are fine-tuned",
}

type openCLIPFlag struct {
	Flag        string
	Value, List bool
	Choices     []string
}

// openCLIPFlags are those of open_clip's own parser (testdata/train/make_flags.py).
func openCLIPFlags(t *testing.T) []openCLIPFlag {
	t.Helper()
	text, err := os.ReadFile("../../testdata/train/flags.json")
	require.NoError(t, err)
	var list struct{ Flags []openCLIPFlag }
	require.NoError(t, json.Unmarshal(text, &list))
	require.Greater(t, len(list.Flags), 80)
	return list.Flags
}

// TestFlagsInDocs holds open_clip's parser, ours and the table of the docs against each other:
// each flag is done, accepted or refused, and takes a value where open_clip's does. With
// GOCLIP_WRITE_DOCS set it writes the table.
func TestFlagsInDocs(t *testing.T) {
	parser, err := newParser(&commandLine{}, io.Discard, io.Discard, func(int) {})
	require.NoError(t, err)
	ours := map[string]*kong.Flag{}
	for _, f := range parser.Model.Flags {
		ours[f.Name] = f
	}
	left := map[string]bool{}
	for name := range openCLIPOnly {
		left[name] = true
	}
	table := "\n| flag | | |\n|---|---|---|\n"
	for _, theirs := range openCLIPFlags(t) {
		c, other := openCLIPOnly[theirs.Flag]
		f, done := ours[theirs.Flag]
		require.True(t, done != other, "--%s is one of done, accepted and refused", theirs.Flag)
		delete(left, theirs.Flag)
		fate, says := "done", remarks[theirs.Flag]
		switch {
		case done:
			assert.Equal(t, theirs.Value, !f.IsBool(), theirs.Flag)
			assert.Equal(t, theirs.List, slices.Contains(lists, "--"+theirs.Flag), theirs.Flag)
		default:
			assert.Equal(t, theirs.Value, c.value, theirs.Flag)
			if fate, says = "refused", c.says; c.accepted {
				fate = "accepted"
			}
		}
		table += fmt.Sprintf("| `--%s` | %s | %s |\n", theirs.Flag, fate, says)
	}
	assert.Empty(t, left, "flags that open_clip does not have")
	inDocs(t, "open_clip's flags", table)
}

// inDocs holds a table of docs/training.md against what it must be, or writes it.
func inDocs(t *testing.T, name, table string) {
	t.Helper()
	const page, end = "../../docs/training.md", "<!-- end -->"
	begin := "<!-- begin: " + name + " -->\n"
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), begin)
	require.True(t, ok)
	had, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	if os.Getenv("GOCLIP_WRITE_DOCS") != "" {
		require.NoError(t, os.WriteFile(page, []byte(before+begin+table+"\n"+end+after), 0o644))
		return
	}
	assert.Equal(t, table+"\n", had, "GOCLIP_WRITE_DOCS=1 go test ./cmd/train -run Docs rewrites the table")
}

// TestChangesInDocs has each flag either continue a run as it is or stand among those that may
// change.
func TestChangesInDocs(t *testing.T) {
	parser, err := newParser(&commandLine{}, io.Discard, io.Discard, func(int) {})
	require.NoError(t, err)
	table := "\n| what | flags |\n|---|---|\n"
	for _, c := range changes {
		var names []string
		for _, flag := range strings.Fields(c.flags) {
			assert.True(t, slices.ContainsFunc(parser.Model.Flags, func(f *kong.Flag) bool { return f.Name == flag }), flag)
			names = append(names, "`--"+flag+"`")
		}
		table += "| " + c.what + " | " + strings.Join(names, ", ") + " |\n"
	}
	inDocs(t, "what may change", table)
}

// TestChoices takes what open_clip's flags take, but for what the table says is refused.
func TestChoices(t *testing.T) {
	refused := []string{"--precision=pure_fp16"}
	for _, theirs := range openCLIPFlags(t) {
		for _, choice := range theirs.Choices {
			var c commandLine
			parser, err := newParser(&c, io.Discard, io.Discard, func(int) {})
			require.NoError(t, err)
			arg := "--" + theirs.Flag + "=" + choice
			ours, _, faults := carryOver([]string{"--train-data=x", "--train-num-samples=8", arg})
			parsed, err := parser.Parse(ours)
			require.NoError(t, err, arg)
			err = c.options.check(c.config(given(parsed)))
			if slices.Contains(refused, arg) || len(faults) > 0 {
				continue
			}
			assert.NoError(t, err, arg)
		}
	}
}

func TestCarryOver(t *testing.T) {
	rest, notes, faults := carryOver([]string{"--lr", "1", "--local-loss", "--wandb-notes", "--a b", "--name", "--debug=false", "--trace=False", "--remote-sync=s3://x", "--local-loss"})
	assert.Equal(t, []string{"--lr", "1", "--name"}, rest)
	assert.Equal(t, []string{
		"--local-loss is accepted and changes nothing: each process computes its own rows and columns of the similarities in any case",
		"--wandb-notes is accepted and changes nothing: of Weights & Biases, which --report-to does not speak to"}, notes)
	require.Len(t, faults, 1)
	assert.Contains(t, faults[0], "--remote-sync is a flag of open_clip that goclip does not have: copy the run's directory beside it")
}
