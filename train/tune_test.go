package train_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train"
	"github.com/goclip/goclip/train/data"
)

// results are the lines of results.jsonl.
func results(t *testing.T, dir string) (lines []map[string]float64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "results.jsonl"))
	require.NoError(t, err)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var m map[string]float64
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		lines = append(lines, m)
	}
	return lines
}

// numbers are little-endian float32.
func numbers(data []byte) []float32 {
	out := make([]float32, len(data)/4)
	for i := range out {
		out[i] = math.Float32frombits(uint32(data[4*i]) | uint32(data[4*i+1])<<8 | uint32(data[4*i+2])<<16 | uint32(data[4*i+3])<<24)
	}
	return out
}

// TestTunedRuns trains with each way of fine-tuning, whole and interrupted: losses, weights,
// averages and what is interpolated are bit-equal, and a resumption with another value is refused.
func TestTunedRuns(t *testing.T) {
	data := shard(t, 28) // 3 batches an epoch
	for _, c := range []struct {
		name, vision, text string
		set                func(o *setup)
		other              func(o *setup) // refused at a resumption
		says               string
		check              func(t *testing.T, model, dir string)
	}{
		{name: "gradient checkpointing", vision: lockViT, text: lockRoberta,
			set:   func(o *setup) { o.GradCheckpointing, o.Precision = true, "amp_bf16" },
			other: func(o *setup) { o.SkipSchedule = true }, says: "SkipSchedule false",
			check: func(t *testing.T, model, dir string) {
				o := options(t, model, data)
				o.Epochs, o.Precision = 2, "amp_bf16"
				sum, err := trained(context.Background(), o, reporter{})
				require.NoError(t, err)
				assert.Equal(t, losses(t, sum.Dir), losses(t, dir), "those of a run without it")
			}},
		{name: "LoRA, averaged and interpolated", vision: lockViT, text: lockText,
			set:   func(o *setup) { o.LoRARank, o.LoRAAlpha, o.EMADecay, o.WiseFT = 2, 4, 0.9, 0.5 },
			other: func(o *setup) { o.LoRARank = 4 }, says: "LoRARank 2, not 4",
			check: func(t *testing.T, model, dir string) {
				before, after := tensors(t, model, clip.WeightsFile), tensors(t, dir, "checkpoints/latest", clip.WeightsFile)
				state := tensors(t, dir, "checkpoints/latest/train_state/optimizer.safetensors")
				for key, was := range before {
					adapted := strings.Contains(key, "resblocks") && (strings.HasSuffix(key, "in_proj_weight") || strings.Contains(key, "out_proj.weight") || strings.Contains(key, "mlp") && strings.HasSuffix(key, "weight"))
					assert.Equal(t, adapted || key == "logit_scale", !bytes.Equal(was, after[key]), key)
					assert.Equal(t, key == "logit_scale", state["exp_avg."+key] != nil, key)
				}
				assert.Len(t, after, len(before))
				assert.Contains(t, state, "exp_avg.visual.transformer.resblocks.0.attn.in_proj.lora_A")
			}},
		{name: "LoRA of one tower", vision: lockResNet, text: lockRoberta,
			set: func(o *setup) {
				o.LoRARank, o.LockImage, o.FreezeBNStats, o.GradCheckpointing = 2, true, true, false
			},
			other: func(o *setup) { o.LoRAAlpha = 4 }, says: "LoRAAlpha 0, not 4",
			check: func(t *testing.T, model, dir string) {
				before, after := tensors(t, model, clip.WeightsFile), tensors(t, dir, "checkpoints/latest", clip.WeightsFile)
				for key, was := range before {
					if strings.HasPrefix(key, "visual.") {
						assert.Equal(t, was, after[key], key)
					}
				}
			}},
		{name: "layers, averages and interpolation", vision: lockViT, text: lockText,
			set: func(o *setup) {
				o.ImageLayerDecay, o.TextLayerDecay, o.EMADecay, o.WiseFT, o.Warmup = 0.5, 0.8, 0.5, 0.25, 0.2
				o.Schedule, o.CooldownEpochs, o.CooldownPower = "const-cooldown", 1, 1
			},
			other: func(o *setup) { o.WiseFT = 0.5 }, says: "WiseFT 0.25, not 0.5",
			check: func(t *testing.T, model, dir string) {
				start, end := tensors(t, model, clip.WeightsFile), tensors(t, dir, "checkpoints/latest", clip.WeightsFile)
				assert.Equal(t, start, tensors(t, dir, "checkpoints/start", clip.WeightsFile))
				for key, mixed := range tensors(t, dir, "checkpoints/wise_ft", clip.WeightsFile) {
					a, b := numbers(start[key]), numbers(end[key])
					for i, x := range numbers(mixed) {
						require.InDelta(t, 0.75*a[i]+0.25*b[i], x, 1e-6, key)
					}
				}
				assert.NoDirExists(t, filepath.Join(dir, "checkpoints/wise_ft/train_state"))
				average := tensors(t, dir, "checkpoints/latest/ema", clip.WeightsFile)
				assert.Equal(t, average["visual.proj"], tensors(t, dir, "checkpoints/latest/train_state/ema.safetensors")["visual.proj"])
				assert.NotEqual(t, average["visual.proj"], end["visual.proj"])
				lines := results(t, dir)
				last := lines[len(lines)-1]
				assert.Equal(t, 0.25, last["wise_ft"])
				assert.Positive(t, last["clip_val_loss"])
				before := lines[len(lines)-2]
				assert.Positive(t, before["ema_clip_val_loss"])
				assert.NotEqual(t, before["ema_clip_val_loss"], before["clip_val_loss"])
				assert.NotEqual(t, last["clip_val_loss"], before["clip_val_loss"])
				for _, name := range []string{"latest", "latest/ema", "start", "wise_ft"} {
					_, err := clip.Open(t.Context(), filepath.Join(dir, "checkpoints", name), nil)
					assert.NoError(t, err, name)
				}
			}},
		{name: "token embeddings", vision: lockViT, text: lockText,
			set: func(o *setup) {
				o.TokenLR, o.LR, o.WeightDecay, o.Warmup, o.GradClipNorm = -1, 1e-5, train.None, train.None, 0
			}, // 0.04 / 20, for 6 steps
			other: func(o *setup) { o.TokenLR = 1e-3 }, says: "TokenLR -1, not 0.001",
			check: func(t *testing.T, model, dir string) {
				start, end := tensors(t, model, clip.WeightsFile), tensors(t, dir, "checkpoints/latest", clip.WeightsFile)
				moved, farthest := 0, map[string]float64{}
				for key, was := range start {
					a, b := numbers(was), numbers(end[key])
					for i := range a {
						farthest[key] = max(farthest[key], math.Abs(float64(a[i]-b[i])))
					}
					for row := 0; key == "token_embedding.weight" && row < len(a); row += 16 {
						if !slices.Equal(a[row:row+16], b[row:row+16]) {
							moved++
						}
					}
				}
				assert.Less(t, farthest["text_projection"], 2*6*1e-5, "all else learns by LR")
				assert.Greater(t, farthest["token_embedding.weight"], 0.003)
				assert.Less(t, farthest["token_embedding.weight"], 0.012)
				assert.Greater(t, moved, 5, "the captions' words")
				assert.Less(t, moved, 40, "and no others")
			}},
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
			changed := parts
			c.other(&changed)
			_, err = trained(context.Background(), changed, reporter{})
			require.ErrorContains(t, err, "the run was started with "+c.says)
			_, err = trained(context.Background(), parts, reporter{})
			require.NoError(t, err)
			dir := filepath.Join(parts.Logs, "run")
			assert.Equal(t, losses(t, sum.Dir), losses(t, dir))
			for _, file := range []string{"latest/" + clip.WeightsFile, "latest/train_state/optimizer.safetensors", "latest/train_state/lora.safetensors",
				"latest/train_state/ema.safetensors", "latest/ema/" + clip.WeightsFile, "wise_ft/" + clip.WeightsFile} {
				if _, err := os.Stat(filepath.Join(sum.Dir, "checkpoints", file)); err == nil {
					assert.Equal(t, tensors(t, sum.Dir, "checkpoints", file), tensors(t, dir, "checkpoints", file), file)
				}
			}
			c.check(t, model, sum.Dir)
		})
	}
}

// TestInterruptedEvaluations stops a run while other weights than its own are evaluated: what is
// saved are its own.
func TestInterruptedEvaluations(t *testing.T) {
	model, data := tinyModel(t), shard(t, 20)
	o := options(t, model, data)
	o.Epochs, o.EMADecay, o.WiseFT, o.Warmup = 1, 0.5, 0.5, train.None
	sum, err := trained(context.Background(), o, reporter{})
	require.NoError(t, err)
	want := tensors(t, sum.Dir, "checkpoints/latest", clip.WeightsFile)
	for _, says := range []string{"the same with the averaged weights", "WiSE-FT, 0.5 of the start's weights"} {
		parts := o
		parts.Logs = t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		_, err := trained(ctx, parts, reporter{Log: cancelAt{says, cancel}})
		require.ErrorIs(t, err, train.ErrInterrupted, says)
		dir := filepath.Join(parts.Logs, "run")
		assert.Equal(t, want, tensors(t, dir, "checkpoints/latest", clip.WeightsFile), says)
		assert.NoDirExists(t, filepath.Join(dir, "checkpoints/wise_ft"))
		parts.Resume = "latest"
		_, err = trained(context.Background(), parts, reporter{})
		require.NoError(t, err)
		assert.Equal(t, tensors(t, sum.Dir, "checkpoints/wise_ft", clip.WeightsFile), tensors(t, dir, "checkpoints/wise_ft", clip.WeightsFile), says)
	}
}

// cancelAt cancels when a line of the log says so.
type cancelAt struct {
	says   string
	cancel func()
}

func (c cancelAt) Write(line []byte) (int, error) {
	if strings.Contains(string(line), c.says) {
		c.cancel()
	}
	return len(line), nil
}

func TestWarmup(t *testing.T) {
	o := options(t, tinyModel(t), shard(t, 44)) // 5 steps an epoch
	o.Epochs, o.Warmup, o.LR = 2, 0.4, 1e-3     // 4 steps of 10
	var rates []float64
	_, err := trained(context.Background(), o, reporter{Step: func(s train.Step, _ int) { rates = append(rates, s.LR) }})
	require.NoError(t, err)
	assert.InDeltaSlice(t, []float64{2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3}, rates[:5], 1e-12)
	o.Warmup, o.Logs = 2.5, t.TempDir()
	_, err = trained(context.Background(), o, reporter{})
	assert.ErrorContains(t, err, "Warmup 2.5: must be a whole number of steps")
}

// TestFineTuneDefaults gives a model with trained weights the rates that fine-tune it without
// forgetting, says so, and lets a field that is given win.
func TestFineTuneDefaults(t *testing.T) {
	dir, set := tinyModel(t), shard(t, 20)
	d, err := data.Open(t.Context(), set, nil)
	require.NoError(t, err)
	for _, c := range []struct {
		name    string
		trained bool
		c       *train.Config
		lr      float64
		wd      float64
		token   float64
		says    string
	}{
		{"from nothing", false, nil, 5e-4, 0.2, train.TokenLRSame, ""},
		{"trained weights", true, nil, 1e-5, 0.1, train.TokenLRAuto, "the defaults are LR 1e-05 WeightDecay 0.1 TokenLR -1\n"},
		{"a field wins", true, &train.Config{LR: 5e-4}, 5e-4, 0.1, train.TokenLRSame, "the defaults are WeightDecay 0.1\n"},
		{"fields win", true, &train.Config{LR: 5e-4, WeightDecay: 0.2}, 5e-4, 0.2, train.TokenLRSame, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := clip.Open(t.Context(), dir, &clip.OpenOptions{Copy: true})
			require.NoError(t, err)
			if !c.trained {
				m, err = clip.New(m.Config, 1)
				require.NoError(t, err)
			}
			var log bytes.Buffer
			config := train.Config{}
			if c.c != nil {
				config = *c.c
			}
			config.BatchSize, config.MaxSteps, config.Log, config.Workers = 8, 1, &log, 1
			tr, err := train.New(m, d, &config)
			require.NoError(t, err)
			is := tr.Config()
			assert.Equal(t, []float64{c.lr, c.wd, c.token}, []float64{is.LR, is.WeightDecay, is.TokenLR})
			require.NoError(t, tr.Run(t.Context()))
			require.NoError(t, tr.Close())
			assert.Contains(t, log.String(), c.says)
			assert.Equal(t, c.says != "", strings.Contains(log.String(), "fine-tuning trained weights"))
		})
	}
}
