package train_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train"
)

// squares writes a folder of images for each colour, shades that the shards do not have.
func squares(t *testing.T, each int) string {
	t.Helper()
	dir := t.TempDir()
	for name, c := range colours {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name+"_square"), 0o755))
		for i := range each {
			img := image.NewRGBA(image.Rect(0, 0, 36, 40))
			for p := range 36 * 40 {
				img.SetRGBA(p%36, p/36, color.RGBA{R: c.R, G: uint8(max(0, int(c.G)-9*i-p%5)), B: c.B, A: 255})
			}
			var b bytes.Buffer
			require.NoError(t, png.Encode(&b, img))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name+"_square", fmt.Sprintf("%d.png", i)), b.Bytes(), 0o644))
		}
	}
	return dir
}

// interrupter ends a run when its log holds the text.
type interrupter struct {
	text string
	end  context.CancelFunc
}

func (i interrupter) Write(p []byte) (int, error) {
	if strings.Contains(string(p), i.text) {
		i.end()
	}
	return len(p), nil
}

// TestZeroshot learns colours and tells of it before, between and after. A run that is interrupted
// in two of the evaluations, after one and in an epoch has the same results.jsonl and losses, and
// one that evaluates nothing the same losses.
func TestZeroshot(t *testing.T) {
	model, set := tinyModel(t), squares(t, 4)
	whole := options(t, model, shard(t, 36)) // 4 batches an epoch
	whole.LR, whole.ValData, whole.Threads = 3e-3, "", 1
	whole.ImageNetVal, whole.ZeroShotEpochs, whole.ZeroShotTemplates = set, 2, []string{"a {} number 3"}
	require.NoError(t, os.WriteFile(filepath.Join(set, "red_square", "broken.png"), []byte("\x89PNG\r\n\x1a\n"), 0o644))
	sum, err := trained(context.Background(), whole, reporter{})
	require.NoError(t, err)
	require.Len(t, sum.Bad, 1)
	assert.Equal(t, filepath.Join(set, "red_square", "broken.png"), sum.Bad[0].Key)

	results, err := os.ReadFile(filepath.Join(sum.Dir, "results.jsonl"))
	require.NoError(t, err)
	var evaluations []train.Metrics
	for line := range strings.Lines(string(results)) {
		var m train.Metrics
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		evaluations = append(evaluations, m)
	}
	require.Len(t, evaluations, 3)
	for i, step := range []float64{0, 8, 12} {
		m := evaluations[i]
		assert.Equal(t, step, m["step"])
		assert.Equal(t, step/4, m["epoch"])
		assert.Equal(t, 16.0, m["zeroshot-val-num-samples"])
		assert.Equal(t, 1.0, m["zeroshot-val-unreadable"])
		assert.Equal(t, 1.0, m["zeroshot-val-top5"], "there are four classes")
		assert.Equal(t, m["zeroshot-val-top1"], m["imagenet-zeroshot-val-top1"])
		assert.Equal(t, m["zeroshot-val-top5"], m["imagenet-zeroshot-val-top5"])
		assert.InDelta(t, m["zeroshot-val-top1"], m["zeroshot-val-mean-per-class-recall"], 1e-12, "the classes are equally large")
	}
	assert.Equal(t, evaluations[2], sum.Metrics)
	before, after := evaluations[0]["zeroshot-val-top1"], evaluations[2]["zeroshot-val-top1"]
	assert.Greater(t, after, before, "it learns")
	log, err := os.ReadFile(filepath.Join(sum.Dir, "out.log"))
	require.NoError(t, err)
	assert.Contains(t, string(log), "zero-shot: images 17, classes 4, templates 1")
	assert.Contains(t, string(log), fmt.Sprintf("zero-shot before training: top-1 %.4f, top-5 1.0000, mean per class recall %.4f; unreadable images, which do not count: 1", before, before))
	assert.Contains(t, string(log), fmt.Sprintf("zero-shot after epoch 3: top-1 %.4f, top-5 1.0000, mean per class recall %.4f; before training: top-1 %.4f,", after, after, before))

	parts := whole
	parts.Logs = t.TempDir()
	for i, stop := range []string{"zero-shot: images", "zero-shot before training", "step 6/12", "zero-shot: images", "never"} {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := trained(ctx, parts, reporter{Log: interrupter{stop, cancel}})
		cancel()
		if i < 4 {
			require.ErrorIs(t, err, train.ErrInterrupted)
		} else {
			require.NoError(t, err)
		}
		parts.Resume = "latest"
	}
	again, err := os.ReadFile(filepath.Join(parts.Logs, "run", "results.jsonl"))
	require.NoError(t, err)
	assert.Equal(t, string(results), string(again))
	want := losses(t, sum.Dir)
	assert.Equal(t, want, losses(t, filepath.Join(parts.Logs, "run")))

	plain := whole
	plain.Logs, plain.ZeroShotEpochs = t.TempDir(), train.None
	sum, err = trained(context.Background(), plain, reporter{})
	require.NoError(t, err)
	assert.Equal(t, want, losses(t, sum.Dir))
	assert.Nil(t, sum.Metrics)
}

func TestZeroshotRefusals(t *testing.T) {
	model, shards, set := tinyModel(t), shard(t, 20), squares(t, 1)
	rename := func(old, name string) string {
		dir := squares(t, 1)
		require.NoError(t, os.Rename(filepath.Join(dir, old), filepath.Join(dir, name)))
		return dir
	}
	broken := squares(t, 1)
	for name := range colours {
		require.NoError(t, os.WriteFile(filepath.Join(broken, name+"_square", "0.png"), nil, 0o644))
	}
	for want, change := range map[string]func(o *setup){
		"data: open ": func(o *setup) { o.ImageNetVal = filepath.Join(set, "none") },
		"holds no folder; each class must be a folder":           func(o *setup) { o.ImageNetVal = filepath.Join(set, "red_square") },
		"the folder n99999999 is named like a class of ImageNet": func(o *setup) { o.ImageNetVal = rename("red_square", "n99999999") },
		`the folder "__" gives its class no name`:                func(o *setup) { o.ImageNetVal = rename("red_square", "__") },
		"ZeroShot: none of its images can be read":               func(o *setup) { o.ImageNetVal = broken },
		"ZeroShotEpochs -2 is negative":                          func(o *setup) { o.ZeroShotEpochs = -2 },
	} {
		o := options(t, model, shards)
		o.ImageNetVal, o.ZeroShotEpochs, o.ZeroShotTemplates = set, 1, []string{"a {}"}
		change(&o)
		_, err := trained(context.Background(), o, reporter{})
		require.ErrorContains(t, err, want)
		assert.NoDirExists(t, filepath.Join(o.Logs, "run", "checkpoints", "latest"))
	}
}
