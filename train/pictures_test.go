package train_test

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train"
)

// imageFiles writes n images of plain greys into dir.
func imageFiles(t *testing.T, dir string, n int) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for i := range n {
		img := image.NewGray(image.Rect(0, 0, 36, 34))
		for p := range img.Pix {
			img.Pix[p] = uint8(10*i + p%9)
		}
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%02d.png", i)))
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, img))
		require.NoError(t, f.Close())
	}
}

// TestResumeOfAnyData stops runs on every way to read data in the middle of an epoch; they end as
// those that were never stopped.
func TestResumeOfAnyData(t *testing.T) {
	model, tar := tinyModel(t), shard(t, 20)
	dir := t.TempDir()
	imageFiles(t, filepath.Join(dir, "p"), 21)
	lines := ""
	for i := range 21 {
		lines += fmt.Sprintf("{\"image\": \"p/%02d.png\", \"caption\": [\"grey number %d\", \"the %dth\", \"a square\"]}\n", i, i, i)
	}
	table := filepath.Join(dir, "a.jsonl")
	require.NoError(t, os.WriteFile(table, []byte(lines), 0o644))
	for class, n := range map[string]int{"dark": 7, "light_grey": 14} {
		imageFiles(t, filepath.Join(dir, "classes", class), n)
	}
	for name, change := range map[string]func(o *setup){
		"several captions": func(o *setup) { o.TrainData = table },
		"each caption":     func(o *setup) { o.TrainData, o.Reading.CaptionEach = table, true },
		"two sources, resampled": func(o *setup) {
			o.TrainData, o.Resample, o.UpsamplingFactors, o.EpochSamples = table+"::"+tar, true, []float64{1, 2.5}, 30
		},
		"pieces of a pass": func(o *setup) { o.EpochSamples = 17 },
		"classes": func(o *setup) {
			o.TrainData = filepath.Join(dir, "classes")
			seven, err := clip.Templates("openai_imagenet_7")
			require.NoError(t, err)
			o.Reading.Classes = train.ClassCaptions(seven...)
		},
		"synthetic": func(o *setup) { o.TrainData, o.Reading.Kind, o.Reading.Samples = "", "synthetic", 19 },
	} {
		t.Run(name, func(t *testing.T) {
			run := func(o setup, stop int) (string, error) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				_, err := trained(ctx, o, reporter{Step: func(s train.Step, _ int) {
					if s.Step == stop {
						cancel()
					}
				}})
				return o.dir(), err
			}
			o := options(t, model, tar)
			o.ValData, o.BatchSize, o.Epochs, o.MaxSteps = "", 4, 5, 14
			change(&o)
			whole, err := run(o, 0)
			require.NoError(t, err)
			want := losses(t, whole)
			require.Len(t, want, 14)

			o.Logs = t.TempDir()
			_, err = run(o, 9)
			require.ErrorIs(t, err, train.ErrInterrupted)
			o.Resume, o.Workers = "latest", 1
			parts, err := run(o, 0)
			require.NoError(t, err)
			assert.Equal(t, want, losses(t, parts))
			if name == "several captions" {
				log, err := os.ReadFile(filepath.Join(parts, "out.log"))
				require.NoError(t, err)
				assert.Contains(t, string(log), "the training data: 21 images have 63 captions; each epoch draws one of an image's")
				require.NoError(t, os.WriteFile(table+"2", []byte(lines), 0o644))
				require.NoError(t, os.WriteFile(table, []byte(strings.Replace(lines, "the 3th", "the 3rd", 1)), 0o644))
				_, err = run(o, 0)
				require.NoError(t, os.Rename(table+"2", table))
				assert.ErrorContains(t, err, "the images or captions of the training data are not those that the run began with")
			}
		})
	}
	for _, c := range []struct {
		want string
		set  func(o *setup)
	}{
		{"EpochSamples 0, not 9", func(o *setup) { o.EpochSamples = 9 }},
		{"Resample false, not true", func(o *setup) { o.Resample = true }},
		{"MaxImagePixels 178956970, not 7", func(o *setup) { o.MaxImagePixels = 7 }},
		{"Orient false, not true", func(o *setup) { o.Orient = true }},
		{"PlainText false, not true", func(o *setup) { o.PlainText = true }},
	} {
		o := options(t, model, tar)
		o.MaxSteps, o.Warmup = 1, train.None
		_, err := trained(t.Context(), o, reporter{})
		require.NoError(t, err)
		o.Resume = "latest"
		c.set(&o)
		_, err = trained(t.Context(), o, reporter{})
		assert.ErrorContains(t, err, "the run was started with "+c.want)
	}
}

// TestPreprocessOverrides trains and evaluates on other pixels than the model's, and keeps them in
// the checkpoint.
func TestPreprocessOverrides(t *testing.T) {
	o := options(t, tinyModel(t), shard(t, 20))
	o.MaxSteps, o.Warmup = 1, train.None
	first := func(o setup) (loss float64) {
		o.Logs = t.TempDir()
		sum, err := trained(t.Context(), o, reporter{})
		require.NoError(t, err)
		m, err := clip.Open(t.Context(), filepath.Join(sum.Dir, "checkpoints", "latest"), nil)
		require.NoError(t, err)
		if o.Preprocess != nil {
			assert.Equal(t, [3]float32{0.5, 0.25, 0.5}, m.Preprocess.Mean)
			assert.Equal(t, [3]float32{0.5, 0.5, 0.5}, m.Preprocess.Std)
			assert.Equal(t, "squash", m.Preprocess.ResizeMode)
			assert.Equal(t, "bilinear", m.Preprocess.Interpolation)
		}
		return sum.Loss
	}
	plain := first(o)
	o.Preprocess = func(c *preprocess.Config) {
		c.Mean, c.Std, c.ResizeMode, c.Interpolation = [3]float32{0.5, 0.25, 0.5}, [3]float32{0.5, 0.5, 0.5}, "squash", "bilinear"
	}
	assert.NotEqual(t, plain, first(o))
}

// TestBadSamplesFile lists what could not be read, once, also over two sittings.
func TestBadSamplesFile(t *testing.T) {
	dir := t.TempDir()
	imageFiles(t, dir, 24)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "05.png"), []byte("\x89PNG\r\n\x1a\n"), 0o644))
	large, err := os.Create(filepath.Join(dir, "06.png"))
	require.NoError(t, err)
	img := image.NewGray(image.Rect(0, 0, 60, 60))
	img.SetGray(0, 0, color.Gray{Y: 3})
	require.NoError(t, png.Encode(large, img))
	require.NoError(t, large.Close())
	text := "filepath\ttitle\n"
	for i := range 24 {
		text += fmt.Sprintf("%02d.png\tnumber %d\n", i, i)
	}
	table := filepath.Join(dir, "a.tsv")
	require.NoError(t, os.WriteFile(table, []byte(text), 0o644))
	o := options(t, tinyModel(t), table)
	o.MaxImagePixels = 2000
	interrupted(t, o, 4)
	o.Resume = "latest"
	sum, err := trained(t.Context(), o, reporter{})
	require.NoError(t, err)
	assert.Equal(t, 22.0, sum.Metrics["num_samples"])
	list, err := os.ReadFile(filepath.Join(sum.Dir, "bad_samples.jsonl"))
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{
		`{"data":"train-data","key":"05.png","error":"preprocess: the PNG data ends inside its header; the file is truncated"}`,
		`{"data":"train-data","key":"06.png","error":"preprocess: 60x60 pixels is more than the limit of 2000; shrink it or raise MaxPixels, which MaxImagePixels sets"}`,
		`{"data":"val-data","key":"05.png","error":"preprocess: the PNG data ends inside its header; the file is truncated"}`,
		`{"data":"val-data","key":"06.png","error":"preprocess: 60x60 pixels is more than the limit of 2000; shrink it or raise MaxPixels, which MaxImagePixels sets"}`,
	}, strings.Split(strings.TrimSpace(string(list)), "\n"))
	log, err := os.ReadFile(filepath.Join(sum.Dir, "out.log"))
	require.NoError(t, err)
	assert.Contains(t, string(log), "2 images could not be read so far, others took their places; ")
}

// TestPhotographs trains on one of 25 megapixels as cameras make them, by the default limit.
func TestPhotographs(t *testing.T) {
	dir := t.TempDir()
	table := "filepath\ttitle\n"
	for i, size := range []image.Point{{6192, 4128}, {8, 8}, {8, 9}, {8, 10}} {
		name := fmt.Sprintf("%d.jpg", i)
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, jpeg.Encode(f, image.NewGray(image.Rectangle{Max: size}), nil))
		require.NoError(t, f.Close())
		table += name + "\tnumber " + name + "\n"
	}
	o := options(t, tinyModel(t), filepath.Join(dir, "data.tsv"))
	require.NoError(t, os.WriteFile(o.TrainData, []byte(table), 0o644))
	o.BatchSize, o.Epochs, o.ValData, o.Warmup = 4, 1, "", train.None
	sum, err := trained(t.Context(), o, reporter{})
	require.NoError(t, err)
	assert.Empty(t, sum.Bad)
	assert.Equal(t, 1, sum.Steps)
}
