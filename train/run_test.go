package train_test

import (
	"archive/tar"
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

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train"
)

var colours = map[string]color.RGBA{"red": {R: 230, A: 255}, "green": {G: 200, A: 255}, "blue": {B: 230, A: 255}, "white": {255, 255, 255, 255}}

// shard writes n images of plain colours with captions.
func shard(t *testing.T, n int) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, data []byte) {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	names := []string{"red", "green", "blue", "white"}
	for i := range n {
		img := image.NewRGBA(image.Rect(0, 0, 40, 36))
		for p := range 40 * 36 {
			c := colours[names[i%4]]
			c.R = uint8(max(0, int(c.R)-i-p%7))
			img.SetRGBA(p%40, p/40, c)
		}
		var picture bytes.Buffer
		require.NoError(t, png.Encode(&picture, img))
		add(fmt.Sprintf("%03d.png", i), picture.Bytes())
		add(fmt.Sprintf("%03d.txt", i), []byte(fmt.Sprintf("a %s square number %d", names[i%4], i)))
	}
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "data.tar")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
	return path
}

// tinyModel writes a small random model with the whole vocabulary and patch dropout.
func tinyModel(t *testing.T) string {
	t.Helper()
	c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":2,"width":64,"head_width":32,"patch_size":8,"patch_dropout":0.25},
		"text_cfg":{"context_length":16,"vocab_size":49408,"width":32,"heads":2,"layers":2}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "tiny")
	require.NoError(t, m.Save(dir))
	return dir
}

func options(t *testing.T, model, data string) (o setup) {
	o.TrainData, o.ValData, o.Model, o.Augment = data, data, model, jittered
	o.BatchSize, o.Epochs, o.LR, o.Warmup, o.GradClipNorm, o.WeightDecay = 8, 3, 1e-3, 2, 1, 0.2
	o.Workers, o.SaveEpochs, o.LogEvery = 2, train.None, 1
	o.Logs = t.TempDir()
	return o
}

func losses(t *testing.T, dir string) (out []float64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	require.NoError(t, err)
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var s train.Step
		require.NoError(t, json.Unmarshal([]byte(line), &s))
		require.Equal(t, i+1, s.Step)
		out = append(out, s.Loss)
	}
	return out
}

// TestResumeIsExact interrupts a run in the middle of an epoch, twice, and finds the losses of one
// that never stopped, bit for bit, with another number of workers.
func TestResumeIsExact(t *testing.T) {
	model, data := tinyModel(t), shard(t, 44) // 5 batches an epoch
	whole := options(t, model, data)
	sum, err := trained(context.Background(), whole, reporter{})
	require.NoError(t, err)
	assert.Equal(t, 15, sum.Steps)
	want := losses(t, sum.Dir)
	require.Len(t, want, 15)
	assert.Less(t, want[14], want[0], "it learns")

	before := settled.Count(torch.LiveTensors)
	parts := options(t, model, data)
	for i, stop := range []int{3, 9, 0} {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := trained(ctx, parts, reporter{Step: func(s train.Step, total int) {
			if s.Step == stop {
				cancel()
			}
		}})
		cancel()
		if stop > 0 {
			require.ErrorIs(t, err, train.ErrInterrupted)
		} else {
			require.NoError(t, err)
		}
		parts.Resume, parts.Workers = "latest", 3-i
	}
	assert.Equal(t, want, losses(t, filepath.Join(parts.Logs, "run")))
	assert.Equal(t, before, settled.Count(torch.LiveTensors), "runs leave nothing but models for the collector")

	for _, file := range []string{"params.txt", "out.log", "results.jsonl", "loss.png", "checkpoints/latest/open_clip_model.safetensors"} {
		info, err := os.Stat(filepath.Join(parts.Logs, "run", file))
		require.NoError(t, err)
		assert.Positive(t, info.Size(), file)
	}
	m, err := clip.Open(t.Context(), filepath.Join(parts.Logs, "run/checkpoints/latest"), nil)
	require.NoError(t, err)
	assert.Equal(t, 0.25, m.Config.Vision.PatchDropout)

	parts.LR = 2e-3
	_, err = trained(context.Background(), parts, reporter{})
	assert.ErrorContains(t, err, "the run was started with LR 0.001, not 0.002; a resumed run may change Epochs, MaxSteps, ")
	parts.Resume = ""
	_, err = trained(context.Background(), parts, reporter{})
	assert.ErrorContains(t, err, "holds a run already; Resume continues it")
}

// TestForcedSizes trains on other images and texts than the model's, resumes, and leaves a model
// of the new sizes.
func TestForcedSizes(t *testing.T) {
	model, data := tinyModel(t), shard(t, 40)
	run := func(o setup) string {
		o.Opening.ImageSize, o.Opening.ContextLength, o.Epochs = 40, 12, 1
		sum, err := trained(t.Context(), o, reporter{})
		require.NoError(t, err)
		return sum.Dir
	}
	whole := run(options(t, model, data))
	log, err := os.ReadFile(filepath.Join(whole, "out.log"))
	require.NoError(t, err)
	assert.Contains(t, string(log), "the position embeddings of 16 patches were resampled to 25")
	m, err := clip.Open(t.Context(), filepath.Join(whole, "checkpoints", "latest"), nil)
	require.NoError(t, err)
	assert.Equal(t, tower.Square(40), m.Config.Vision.ImageSize)
	assert.Equal(t, [2]int{40, 40}, m.Preprocess.Size)
	assert.Equal(t, 12, m.ContextLength())

	o := options(t, model, data)
	o.Opening.ImageSize, o.Opening.ContextLength, o.Epochs = 40, 12, 1
	interrupted(t, o, 2)
	o.Resume = "latest"
	assert.Equal(t, losses(t, whole), losses(t, run(o)))
}

func TestRefusals(t *testing.T) {
	model, data := tinyModel(t), shard(t, 20)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	whole, err := os.ReadFile(data)
	require.NoError(t, err)
	for _, c := range []struct {
		want string
		set  func(o *setup)
	}{
		{"BatchSize 1: must be at least 2: the loss compares", func(o *setup) { o.BatchSize = 1 }},
		{"20 samples make no batch of 64", func(o *setup) { o.BatchSize = 64 }},
		{`Schedule "linear": must be one of`, func(o *setup) { o.Schedule = "linear" }},
		{`Precision "fp8": must be one of`, func(o *setup) { o.Precision = "fp8" }},
		{"no such file", func(o *setup) { o.TrainData = filepath.Join(dir, "none.tar") }},
		{"is neither a model directory, nor a file of weights, nor a built-in config", func(o *setup) { o.Model = "ViT-Q" }},
		{"is damaged: 010.png ends too early", func(o *setup) { o.TrainData = write("cut.tar", string(whole[:len(whole)/2])) }},
		{`it has no column "title", only ["filepath" "caption"]; CaptionKey names another`, func(o *setup) { o.TrainData = write("a.tsv", "filepath\tcaption\na.png\tx\n") }},
		{"it has a header and no rows", func(o *setup) { o.TrainData = write("b.tsv", "filepath\ttitle\n") }},
		{"more than 10 samples cannot be read", func(o *setup) {
			o.TrainData = write("c.tsv", "filepath\ttitle\n"+strings.Repeat("gone.png\tx\n", 1)+strings.Join(manyLines(40), ""))
		}},
		{"state.json: no such file", func(o *setup) { o.Resume = filepath.Join(dir, "gone") }},
		{"the extension", func(o *setup) { o.TrainData = write("data.zip", "") }},
	} {
		o := options(t, model, data)
		c.set(&o)
		_, err := trained(context.Background(), o, reporter{})
		require.ErrorContains(t, err, c.want)
		assert.NoDirExists(t, filepath.Join(o.Logs, "run", "checkpoints", "latest"))
	}
}

func manyLines(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("gone%d.png\tx\n", i))
	}
	return lines
}

// TestBadImageAmongGood trains on and tells of it.
func TestBadImageAmongGood(t *testing.T) {
	dir := t.TempDir()
	text := "filepath\ttitle\nbroken.png\tbroken\n"
	for i := range 16 {
		img := image.NewRGBA(image.Rect(0, 0, 8, 8))
		img.SetRGBA(i%8, i/8, color.RGBA{R: 255, A: 255})
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.png", i)))
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, img))
		require.NoError(t, f.Close())
		text += fmt.Sprintf("%d.png\tnumber %d\n", i, i)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broken.png"), []byte("\x89PNG\r\n\x1a\n"), 0o644))
	path := filepath.Join(dir, "data.tsv")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	o := options(t, tinyModel(t), path)
	sum, err := trained(context.Background(), o, reporter{})
	require.NoError(t, err)
	require.Len(t, sum.Bad, 2, "once among the training images, once in the evaluation")
	for _, b := range sum.Bad {
		assert.Contains(t, b.Key, "broken.png")
	}
	assert.Equal(t, 16.0, sum.Metrics["num_samples"], "no image is judged in another's place")
}
