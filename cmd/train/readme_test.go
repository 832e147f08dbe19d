package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
)

// openCLIPCommands are the training commands of open_clip's README ("Sample single-process running
// code", "Single-Node", "SLURM") with other paths and nothing else changed.
var openCLIPCommands = map[string]string{
	"one process": `
    --save-frequency 1 \
    --zeroshot-frequency 1 \
    --report-to tensorboard \
    --train-data="train_data.csv"  \
    --val-data="validation_data.csv"  \
    --csv-img-key filepath \
    --csv-caption-key title \
    --imagenet-val=imagenet/ \
    --warmup 10000 \
    --batch-size=128 \
    --lr=1e-3 \
    --wd=0.1 \
    --epochs=30 \
    --workers=8 \
    --model RN50`,
	"torchrun": `--nproc_per_node 4
    --train-data 'cc12m-train-{0000..0001}.tar' \
    --train-num-samples 10968539 \
    --dataset-type webdataset \
    --batch-size 320 \
    --precision amp \
    --workers 4 \
    --imagenet-val imagenet/`,
	"srun": `
    --save-frequency 1 \
    --report-to tensorboard \
    --train-data="{00000..00001}.tar" \
    --warmup 2000 \
    --batch-size=256 \
    --epochs=32 \
    --workers=8 \
    --model ViT-B-32 \
    --name "ViT-B-32-Vanilla" \
    --seed 0 \
    --local-loss \
    --gather-with-grad`,
}

// words are a command's, as a shell has them.
func words(command string) []string {
	return strings.Fields(strings.NewReplacer("\\\n", " ", `"`, "", "'", "").Replace(command))
}

// openCLIPPlace is a directory with the data of the commands, and with small models in directories
// that are called as the commands' models are: the built-in ones would take hours here.
func openCLIPPlace(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	picture := func(i int) []byte {
		img := image.NewNRGBA(image.Rect(0, 0, 16, 16))
		for p := range 256 {
			img.Set(p%16, p/16, color.NRGBA{R: uint8(i), G: uint8(7 * i), B: uint8(p), A: 255})
		}
		var b bytes.Buffer
		require.NoError(t, png.Encode(&b, img))
		return b.Bytes()
	}
	require.NoError(t, os.Mkdir(at("images"), 0o755))
	table := "filepath,title\n"
	for i := range 128 {
		require.NoError(t, os.WriteFile(at(fmt.Sprintf("images/%d.png", i)), picture(i), 0o644))
		table += fmt.Sprintf("images/%d.png,image number %d\n", i, i)
	}
	require.NoError(t, os.WriteFile(at("train_data.csv"), []byte(table), 0o644))
	require.NoError(t, os.WriteFile(at("validation_data.csv"), []byte(table), 0o644))
	for _, class := range []string{"n01440764", "n01443537"} {
		require.NoError(t, os.MkdirAll(at("imagenet/"+class), 0o755))
		require.NoError(t, os.WriteFile(at("imagenet/"+class+"/a.png"), picture(1), 0o644))
	}
	for name, n := range map[string]int{"cc12m-train-0000": 640, "cc12m-train-0001": 640, "00000": 128, "00001": 128} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i := range n {
			for ext, data := range map[string][]byte{"png": picture(i), "txt": fmt.Appendf(nil, "image number %d", i)} {
				require.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%06d.%s", i, ext), Mode: 0o644, Size: int64(len(data))}))
				_, err := w.Write(data)
				require.NoError(t, err)
			}
		}
		require.NoError(t, w.Close())
		require.NoError(t, os.WriteFile(at(name+".tar"), b.Bytes(), 0o644))
	}
	text := `"text_cfg":{"context_length":16,"vocab_size":49408,"width":8,"heads":2,"layers":1}}`
	for name, config := range map[string]string{
		"RN50":     `{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":[1,1,1,1],"width":8,"patch_size":null},` + text,
		"ViT-B-32": `{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":1,"width":32,"head_width":32,"patch_size":8},` + text,
	} {
		c, err := tower.ParseConfig([]byte(config))
		require.NoError(t, err)
		m, err := clip.New(c, 1)
		require.NoError(t, err)
		require.NoError(t, m.Save(at(name)))
	}
	return dir
}

// TestOpenCLIPCommands runs them: to the end those that come to one, the other until it has learned
// and is told to stop.
func TestOpenCLIPCommands(t *testing.T) {
	dir := openCLIPPlace(t)
	for name, command := range openCLIPCommands {
		t.Run(name, func(t *testing.T) {
			logs := t.TempDir()
			cmd := process(append(words(command), "--logs", logs)...)
			cmd.Dir = dir
			var errs bytes.Buffer
			cmd.Stderr = &errs
			require.NoError(t, cmd.Start())
			run := ""
			require.Eventually(t, func() bool {
				entries, _ := os.ReadDir(logs)
				if len(entries) == 1 {
					run = filepath.Join(logs, entries[0].Name())
				}
				return run != "" && begun(run, 1)()
			}, 3*time.Minute, 10*time.Millisecond, errs.String)
			if name == "torchrun" { // ten million samples an epoch
				require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			}
			err := cmd.Wait()
			noTrace(t, errs.String())
			list := steps(t, run)
			switch name {
			case "one process":
				require.NoError(t, err, errs.String())
				assert.Len(t, list, 30)
				assert.Contains(t, errs.String(), "WARNING: --warmup 10000 is not shorter than the run of 30 steps, so the learning rate gets to 3e-06 of --lr 0.001")
				assert.InDelta(t, 3e-6, list[29].LR, 1e-12, "as open_clip's scheduler has it")
				assert.DirExists(t, filepath.Join(run, "checkpoints", "epoch_30"))
				params, err := os.ReadFile(filepath.Join(run, "params.txt"))
				require.NoError(t, err)
				assert.Contains(t, string(params), "\nbeta2: 0.999\neps: 1e-08\n", "as open_clip has it for RN50")
				assert.DirExists(t, filepath.Join(run, "tensorboard"))
			case "torchrun":
				assert.Equal(t, 130, cmd.ProcessState.ExitCode(), errs.String())
				assert.Equal(t, 4*320, list[0].Samples)
				assert.Contains(t, errs.String(), "in amp,")
				assert.Contains(t, errs.String(), "WARNING: the batch statistics of a ResNet are those of each process's micro-batch, as in open_clip")
				whole(t, run, "latest")
			case "srun":
				require.NoError(t, err, errs.String())
				assert.Equal(t, "ViT-B-32-Vanilla", filepath.Base(run))
				assert.Len(t, list, 32)
				assert.Contains(t, errs.String(), "--local-loss is accepted and changes nothing")
				assert.Contains(t, errs.String(), "--gather-with-grad is accepted and changes nothing")
			}
		})
	}
}
