package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train"
)

// TestEvalOnly evaluates a finished run's model, by its directory and as a checkpoint, and finds
// what the run found at its end. It writes nothing.
func TestEvalOnly(t *testing.T) {
	data, logs := shard(t, 20), t.TempDir()
	common := []string{"--val-data", data, "--batch-size", "8", "--logs", logs, "--name", "run"}
	code, _, errs := command(t, append([]string{"--model", tinyModel(t), "--train-data", data, "--max-steps", "2"}, common...)...)
	require.Equal(t, 0, code, errs)
	dir := filepath.Join(logs, "run")
	text, err := os.ReadFile(filepath.Join(dir, "results.jsonl"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var want train.Metrics
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &want))
	delete(want, "epoch")
	delete(want, "step")
	before, err := os.ReadDir(logs)
	require.NoError(t, err)
	latest := filepath.Join(dir, "checkpoints", "latest")
	for _, args := range [][]string{
		{"--model", latest}, // without --train-data, as open_clip has it
		{"--model", latest, "--train-data", data, "--eval-only"},
		{"--resume", "latest", "--eval-only"},
		{"--resume", latest, "--eval-only"},
	} {
		code, out, errs := command(t, append(args, common...)...)
		require.Equal(t, 0, code, errs)
		var got train.Metrics
		require.NoError(t, json.Unmarshal([]byte(out), &got))
		assert.InDeltaMapValues(t, want, got, 1e-5, "%v", args)
		assert.Contains(t, errs, "evaluation on 20 pairs")
	}
	after, err := os.ReadDir(logs)
	require.NoError(t, err)
	assert.Equal(t, len(before), len(after))
	code, _, errs = command(t, "--model", latest, "--train-data", data, "--eval-only")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "--eval-only must have --val-data or --imagenet-val")
}
