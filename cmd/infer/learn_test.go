package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/index"
)

func TestLearn(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"dog.png", "racing_car.png"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "data", "demo", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	dog, car := filepath.Join(dir, "dog.png"), filepath.Join(dir, "racing_car.png")
	at := filepath.Join(dir, index.DirName)
	code, _, errs := infer(t, "", "index", dir)
	require.Zero(t, code, errs)

	code, out, errs := infer(t, "", "learn", "rex", "--index", at, "--yes", dog, "--no", car)
	require.Zero(t, code, errs)
	assert.Equal(t, "word  version  yes  no  text\nrex   1        1    1   \n", out)

	code, out, errs = infer(t, "", "search", "-n", "--format", "json", "rex", dir)
	require.Zero(t, code, errs)
	var r result
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	assert.Equal(t, []termJSON{{Concept: "rex@1", Weight: 1}}, r.Query)
	require.Len(t, r.Results, 2)
	assert.EqualValues(t, dog, r.Results[0].Path)
	code, out, errs = infer(t, "", "search", "-f", "-t", "1", "--index", at, "2:rex - \"a dog\"")
	require.Zero(t, code, errs)
	assert.Equal(t, 1, strings.Count(out, "\n"))

	code, out, errs = infer(t, "", "learn", "rex", "--index", at, "--yes", car, "--text", "a car", "--format", "json")
	require.Zero(t, code, errs)
	var list []conceptJSON
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list, 1)
	assert.Equal(t, [3]int{2, 2, 0}, [3]int{list[0].Version, list[0].Yes, list[0].No}, "the car is judged again")

	code, out, errs = infer(t, "", "learn", "rex@1", "--index", at, "--export")
	require.Zero(t, code, errs)
	var c index.Concept
	require.NoError(t, json.Unmarshal([]byte(out), &c))
	assert.Equal(t, "dog.png", c.Examples[0].Path, "as the index has it")
	assert.Len(t, c.Row, 128)

	code, out, errs = infer(t, "", "learn", "rex@1", "--index", at, "--propose", "3")
	require.Zero(t, code, errs)
	assert.Empty(t, out, "both images are judged")

	code, _, errs = infer(t, "", "learn", "rex", "--index", at, "--remove")
	require.Zero(t, code, errs)
	code, out, errs = infer(t, "", "learn", "--list", "--index", at)
	require.Zero(t, code, errs)
	assert.Equal(t, "word  version  yes  no  text\n", out)
}

func TestLearnRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{}, 2, "no word to learn"},
		{[]string{"two words", "--yes", "a.png"}, 2, "must be one word"},
		{[]string{"rex", "--list"}, 2, "--list takes no name"},
		{[]string{"rex", "--remove", "--yes", "a.png"}, 2, "do not go together"},
		{[]string{"rex", "--propose", "-1"}, 2, "--propose -1"},
		{[]string{"rex", "--yes"}, 2, "--yes"},
		{[]string{"rex", "--index", dir, "--yes", "a.png"}, 1, dir},
	} {
		code, out, errs := infer(t, "", append([]string{"learn"}, c.args...)...)
		assert.Equal(t, c.code, code, "%q: %s", c.args, errs)
		assert.Empty(t, out)
		assert.Contains(t, errs, c.says)
	}
}
