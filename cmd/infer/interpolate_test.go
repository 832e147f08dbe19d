package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

// TestInterpolate mixes a model with one whose temperature is another, and refuses what cannot be
// mixed.
func TestInterpolate(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	m, err := clip.Open(t.Context(), tiny, &clip.OpenOptions{Copy: true})
	require.NoError(t, err)
	var start float64
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		start = s.Alias(m.LogitScale).Item()
		s.Alias(m.LogitScale).Fill(start + 1)
	}))
	tuned, out := filepath.Join(dir, "tuned"), filepath.Join(dir, "out")
	require.NoError(t, m.Save(tuned))
	code, stdout, errs := infer(t, "", "interpolate", "--alpha", "0.25", tiny, tuned, out)
	require.Equal(t, 0, code, errs)
	assert.Empty(t, stdout)
	assert.Regexp(t, `^infer: wrote `+out+`: 0\.75 of the weights of `+tiny+` and 0\.25 of those of `+tuned+`, in open_clip's layout, \d+\.\d MB\ninfer: its files are open_clip_config\.json, open_clip_model\.safetensors\n$`, errs)
	mixed, err := clip.Open(t.Context(), out, nil)
	require.NoError(t, err)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) { assert.InDelta(t, start+0.25, s.Alias(mixed.LogitScale).Item(), 1e-5) }))
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{tiny, tuned, out}, 2, "is there already; name another directory"},
		{[]string{"--alpha", "2", tiny, tuned, filepath.Join(dir, "new")}, 2, "--alpha 2: must be between 0 and 1"},
		{[]string{"emoji-64", tuned, filepath.Join(dir, "new")}, 1, "are different models"},
		{[]string{tiny, filepath.Join(dir, "none"), filepath.Join(dir, "new")}, 1, "is neither a model directory"},
	} {
		code, _, errs := infer(t, "", append([]string{"interpolate"}, c.args...)...)
		assert.Equal(t, c.code, code, errs)
		assert.Contains(t, oneLine(t, errs), c.says)
	}
	assert.NoDirExists(t, filepath.Join(dir, "new"))
}
