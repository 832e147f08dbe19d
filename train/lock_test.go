package train_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch/checkpoint"
)

// tensors is the bytes of a safetensors file's tensors by their names.
func tensors(t *testing.T, parts ...string) map[string][]byte {
	t.Helper()
	f, err := checkpoint.Open(filepath.Join(parts...))
	require.NoError(t, err)
	defer f.Close()
	out := map[string][]byte{}
	for _, name := range f.Names() {
		e, _ := f.Entry(name)
		out[name] = bytes.Clone(e.Data)
	}
	return out
}

// lockModel writes a random model: a small image tower beside a text tower.
func lockModel(t *testing.T, vision, text string) string {
	t.Helper()
	c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":` + vision + `,"text_cfg":` + text + `}`))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "small")
	require.NoError(t, m.Save(dir))
	if c.Text.HFModelName != "" {
		for _, name := range []string{"vocab.json", "merges.txt"} {
			data, err := os.ReadFile(filepath.Join("../testdata/tokenizer/roberta", name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
		}
	}
	return dir
}

const (
	lockViT     = `{"image_size":32,"layers":2,"width":32,"head_width":32,"patch_size":8,"patch_dropout":0.25}`
	lockResNet  = `{"image_size":32,"layers":[1,1,1,1],"width":8,"patch_size":null}`
	lockText    = `{"context_length":16,"vocab_size":49408,"width":16,"heads":2,"layers":2}`
	lockRoberta = `{"context_length":16,"hf_model_name":"roberta-base","hf_tokenizer_name":"roberta-base","hf_pooler_type":"mean_pooler","hf_proj_type":"mlp","hf_model_config":
		{"vocab_size":2000,"hidden_size":32,"num_hidden_layers":2,"num_attention_heads":2,"intermediate_size":48,"max_position_embeddings":20}}`
)

// TestLockedRuns trains with each lock, whole and interrupted: the losses are the same, what is
// locked is bit-equal to what the run began with, and the optimiser knows nothing of it.
func TestLockedRuns(t *testing.T) {
	data := shard(t, 28) // 3 batches an epoch
	for _, c := range []struct {
		name, vision, text string
		set                func(o *setup)
		learns             func(key string) bool // of the weights, the temperature aside
		moves              func(key string) bool // of the buffers
	}{
		{name: "image", vision: lockViT, text: lockText,
			set:    func(o *setup) { o.LockImage = true },
			learns: func(key string) bool { return !strings.HasPrefix(key, "visual.") }},
		{name: "image but two groups, in bfloat16", vision: lockViT, text: lockText,
			set: func(o *setup) { o.LockImage, o.UnlockedGroups, o.Precision = true, 2, "amp_bf16" },
			learns: func(key string) bool {
				return !strings.HasPrefix(key, "visual.") || key == "visual.proj" || strings.HasPrefix(key, "visual.ln_post") || strings.Contains(key, "resblocks.1")
			}},
		{name: "text but a layer", vision: lockViT, text: lockText,
			set:    func(o *setup) { o.LockText, o.UnlockedLayers = true, 1 },
			learns: func(key string) bool { return strings.HasPrefix(key, "visual.") || key == "text_projection" }},
		{name: "a ResNet and its statistics but the pooling, and a RoBERTa but its normalisations", vision: lockResNet, text: lockRoberta,
			set: func(o *setup) {
				o.LockImage, o.UnlockedGroups, o.FreezeBNStats, o.LockText = true, 1, true, true
			},
			learns: func(key string) bool {
				return strings.HasPrefix(key, "visual.attnpool") || strings.HasPrefix(key, "text.proj") || strings.Contains(key, "LayerNorm")
			},
			moves: func(string) bool { return false }},
		{name: "a ResNet", vision: lockResNet, text: lockText,
			set:    func(o *setup) { o.LockImage = true },
			learns: func(key string) bool { return !strings.HasPrefix(key, "visual.") },
			moves:  func(string) bool { return true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			model := lockModel(t, c.vision, c.text)
			whole := options(t, model, data)
			whole.Epochs = 2
			c.set(&whole)
			sum, err := trained(context.Background(), whole, reporter{})
			require.NoError(t, err)

			parts := whole
			parts.Logs = t.TempDir()
			interrupted(t, parts, 2)
			parts.Resume = "latest"
			_, err = trained(context.Background(), parts, reporter{})
			require.NoError(t, err)
			assert.Equal(t, losses(t, sum.Dir), losses(t, filepath.Join(parts.Logs, "run")))

			latest := filepath.Join(sum.Dir, "checkpoints", "latest")
			before, after := tensors(t, model, clip.WeightsFile), tensors(t, latest, clip.WeightsFile)
			state := tensors(t, latest, "train_state", "optimizer.safetensors")
			assert.Equal(t, after, tensors(t, parts.Logs, "run/checkpoints/latest", clip.WeightsFile))
			for key, was := range before {
				if strings.Contains(key, "running_") || strings.HasSuffix(key, "num_batches_tracked") {
					assert.Equal(t, c.moves(key), !bytes.Equal(was, after[key]), key)
					continue
				}
				learns := c.learns(key) || key == "logit_scale"
				if !strings.HasSuffix(key, "k_proj.bias") || !learns { // its gradient is zero, and rounding
					assert.Equal(t, learns, !bytes.Equal(was, after[key]), key)
				}
				assert.Equal(t, learns, state["exp_avg."+key] != nil, key)
			}
			text, err := os.ReadFile(filepath.Join(sum.Dir, "params.txt"))
			require.NoError(t, err)
			assert.Contains(t, string(text), "UnlockedGroups: ")
			if whole.LockImage {
				assert.Contains(t, string(text), "LockImage: true\n")
			}

			parts.LockImage, parts.UnlockedGroups = true, whole.UnlockedGroups+1
			_, err = trained(context.Background(), parts, reporter{})
			assert.ErrorContains(t, err, "the run was started with ")
		})
	}
}
