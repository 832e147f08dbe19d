package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func configOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// TestSettings reads flags from a file and the environment: what is nearer to the user wins.
func TestSettings(t *testing.T) {
	file := configOf(t, `
# comments, and all kinds of values
train-data: [a.tar, 'b c.tar']
lr: 1e-3
batch-size: 8      # the number
lock-image: true
id-targets: off
csv-separator: ","
image-mean: [0.5, 0.25, 0.5]
aug-cfg: scale=[0.9,1.0] color_jitter_prob=0.8
warmup: 10%
name: "null"
val-data: null
local-loss: true
nproc-per-node: 2
`)
	args, ambient, err := withSettings([]string{"--config", file, "--lr", "2"}, []string{"GOCLIP_BATCH_SIZE=16", "GOCLIP_LR=4", "GOCLIP_CACHE=/x", "HOME=/"})
	require.NoError(t, err)
	assert.Equal(t, []string{"--train-data=a.tar::b c.tar", "--lr=1e-3", "--batch-size=8", "--lock-image=true", "--id-targets=off", "--csv-separator=,",
		"--image-mean=0.5 0.25 0.5", "--aug-cfg=scale=[0.9,1.0] color_jitter_prob=0.8", "--warmup=10%", "--name=null", "--local-loss=true", "--nproc-per-node=2",
		"--batch-size=16", "--lr=4", "--config", file, "--lr", "2"}, reorder(args))
	assert.Empty(t, ambient)
	assert.Equal(t, []string{"--lr", "2"}, withoutLaunchFlags([]string{"--nproc_per_node=2", "--config", file, "--lr", "2"}))

	args, _, err = withSettings(nil, []string{"GOCLIP_CONFIG=" + file})
	require.NoError(t, err)
	assert.Len(t, args, 12)
	for text, says := range map[string]string{
		"lrr: 1":                      `run.yaml line 1: unknown flag --lrr, did you mean "lr"?`,
		"lr: 1\ntrain_data: x":        `run.yaml line 2: unknown flag --train_data, did you mean "train-data"?`,
		"lr: 1\nlr: 2":                "run.yaml line 2: ",
		"epochs: many":                "run.yaml line 1: --epochs",
		"lr: {a: 1}":                  "run.yaml line 1: lr: must be a value or a list of values",
		"- lr":                        "must be flags with their values, such as batch-size: 64",
		"lr: [1":                      "run.yaml line 1: ",
		"help: true":                  "run.yaml line 1: --help must be given on the command line",
		"config: x":                   "--config must be given on the command line",
		"epochs: many\nbatch-sise: 8": "did you mean",
	} {
		_, _, err := withSettings([]string{"--config=" + configOf(t, text)}, nil)
		assert.ErrorContains(t, err, says, text)
	}
	_, ambient, err = withSettings([]string{"--lr=1"}, []string{"GOCLIP_MODEL=x", "GOCLIP_LR=2", "GOCLIP_NAME="})
	require.NoError(t, err)
	assert.Equal(t, []string{"model"}, ambient)
	_, _, err = withSettings(nil, []string{"GOCLIP_EPOCHS=x"})
	assert.ErrorContains(t, err, "GOCLIP_EPOCHS: --epochs")
	_, _, err = withSettings([]string{"--config", t.TempDir()}, nil)
	assert.ErrorContains(t, err, "--config: open ")
}

// reorder puts the environment's two flags, whose order is the parser's, by name.
func reorder(args []string) []string {
	if args[12] == "--lr=4" {
		args[12], args[13] = args[13], args[12]
	}
	return args
}

// TestConfigOfRun repeats a run by the file that it wrote: the same steps under a new name; and the
// file in the checkpoint is the same.
func TestConfigOfRun(t *testing.T) {
	logs := t.TempDir()
	code, _, errs := command(t, "--model", tinyModel(t), "--train-data", shard(t, 20), "--batch-size", "8", "--epochs", "2", "--workers", "1", "--logs", logs, "--name", "first",
		"--image-mean", "0.5", "0.25", "0.5", "--aug-cfg", "scale=[0.5,1.0]", "--csv-separator", ";", "--grad-clip-norm", "1", "--lock-text", "--id-targets", "off")
	require.Equal(t, 0, code, errs)
	file := filepath.Join(logs, "first", "config.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	inside, err := os.ReadFile(filepath.Join(logs, "first", "checkpoints", "latest", "train_state", "config.yaml"))
	require.NoError(t, err)
	assert.Equal(t, string(text), string(inside))

	code, _, errs = command(t, "--config", file, "--name", "again")
	require.Equal(t, 0, code, errs)
	first, again := steps(t, filepath.Join(logs, "first")), steps(t, filepath.Join(logs, "again"))
	require.Len(t, again, len(first))
	for i := range first {
		assert.Equal(t, first[i].Loss, again[i].Loss)
		assert.Equal(t, first[i].LR, again[i].LR)
	}
	second, err := os.ReadFile(filepath.Join(logs, "again", "config.yaml"))
	require.NoError(t, err)
	assert.Equal(t, withoutComments(string(text)), withoutComments(string(second)))
	code, _, errs = command(t, "--config", file, "--resume", "latest", "--name", "first")
	assert.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "continuing after step 4 of 4")
	t.Setenv("GOCLIP_MODEL", "ViT-B-32") // which is there for infer
	t.Setenv("GOCLIP_LOG_EVERY_N_STEPS", "3")
	code, _, errs = command(t, "--resume", "latest", "--logs", logs, "--name", "first", "--epochs", "3")
	assert.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "the run is extended from 4 to 6 steps")
}

func withoutComments(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
