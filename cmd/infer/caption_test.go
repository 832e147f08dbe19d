package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
)

// TestCaption writes a line per image, names one that cannot be read, and refuses models without captions.
func TestCaption(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim": 16, "custom_text": true,
		"vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 16, "patch_size": 8, "attentional_pool": true, "attn_pooler_queries": 3, "attn_pooler_heads": 1, "output_tokens": true},
		"text_cfg": {"context_length": 10, "width": 16, "heads": 1, "layers": 1, "embed_cls": true, "output_tokens": true},
		"multimodal_cfg": {"context_length": 10, "width": 16, "heads": 1, "layers": 1}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	model, photos := t.TempDir(), t.TempDir()
	require.NoError(t, m.Save(model))
	emoji(t, photos, 2)
	missing := filepath.Join(t.TempDir(), "missing.png")
	args := []string{"caption", "--model", model, "--max-tokens", "8"}
	code, out, errs := infer(t, "", append(args, photos)...)
	require.Zero(t, code, errs)
	assert.Equal(t, 2, strings.Count(out, ".png\t"))
	code, out, errs = infer(t, "", append(args, "--beams", "1", "--format", "json", testImage("face.png"), missing)...)
	require.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "missing.png")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2)
	var first, second caption
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &second))
	assert.NotEmpty(t, first.Caption)
	assert.NotEmpty(t, second.Error)
	code, out, errs = infer(t, "", append(args, "--format", "csv", testImage("face.png"))...)
	require.Zero(t, code, errs)
	assert.True(t, strings.HasPrefix(out, "path,caption,error\n"), out)

	turned := func(flags ...string) string {
		code, out, errs := infer(t, "", append(append(args, testImage("orientation6.jpg")), flags...)...)
		require.Zero(t, code, errs)
		return out
	}
	assert.NotEqual(t, turned("--no-orient"), turned(), "an image that lies on its side is turned upright")

	for _, bad := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"caption"}, 2, "<path>"},
		{[]string{"caption", testImage("face.png")}, 1, "writes no captions: a CoCa does"},
		{append(args, "--beams", "0", photos), 2, "--beams 0"},
		{append(args, "--max-tokens", "11", photos), 1, "must be between 3 and the context length, 10"},
	} {
		code, out, errs := infer(t, "", bad.args...)
		assert.Equal(t, bad.code, code, bad.says)
		assert.Empty(t, out)
		assert.Contains(t, oneLine(t, errs), bad.says)
	}
}
