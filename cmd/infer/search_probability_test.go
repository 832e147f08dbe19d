package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSearchProbability(t *testing.T) {
	dir := t.TempDir()
	emoji(t, dir, 40)
	code, _, errs := infer(t, "", "index", dir)
	require.Zero(t, code, errs)
	at := filepath.Join(dir, ".goclip")
	ask := func(p string, args ...string) (out, errs string) {
		code, out, errs := infer(t, "", append([]string{"search", "--index", at, "--min-probability", p}, args...)...)
		require.Zero(t, code, errs)
		return out, errs
	}
	out, _ := ask("0", "--format", "json", "grinning face")
	var all, some result
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	require.Len(t, all.Results, 10)
	above := 0
	middle := *all.Results[0].Probability
	for _, r := range all.Results {
		require.NotNil(t, r.Probability)
		if *r.Probability >= middle {
			above++
		}
	}
	out, _ = ask(fmt.Sprint(middle), "--format", "json", "grinning face")
	require.NoError(t, json.Unmarshal([]byte(out), &some))
	assert.Len(t, some.Results, above)
	out, _ = ask("0", "-t", "1", "grinning face")
	assert.Equal(t, []string{"score", "probability", "image"}, strings.Fields(out)[:3])
	out, _ = ask("0", "-t", "1", "--format", "csv", "grinning face")
	assert.True(t, strings.HasPrefix(out, "score,path,size,modified,date,probability\n"), out)
	out, errs = ask("1", "-f", "a submarine")
	assert.Empty(t, out)
	assert.Contains(t, errs, "infer: nothing found: no image has a probability of 1 or more; the nearest has ")

	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--min-probability", "1.5", "a dog"}, "--min-probability 1.5: must be between 0 and 1"},
		{[]string{"--min-probability", "0.5", "a dog - a cat"}, "needs a query of words alone"},
		{[]string{"--min-probability", "0.5", "--duplicates"}, "goes with a query"},
	} {
		code, _, errs := infer(t, "", append([]string{"search", "--index", at}, c.args...)...)
		assert.Equal(t, 2, code)
		assert.Contains(t, errs, c.says)
	}
}
