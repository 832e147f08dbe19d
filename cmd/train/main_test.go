package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/train"
)

// asCommand makes the test's binary be train.
const asCommand = "GOCLIP_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if fault := os.Getenv(asWorker); fault != "" && os.Getenv("RANK") != "" {
		if err := worker(fault); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// process is the command as a process of its own.
func process(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

// command runs the command in this process and checks what holds of every run: no Go or C++ trace.
func command(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer stderr.Close()
	var stdout bytes.Buffer
	code = run(args, &stdout, stderr)
	text, err := os.ReadFile(stderr.Name())
	require.NoError(t, err)
	noTrace(t, string(text))
	return code, stdout.String(), string(text)
}

func noTrace(t *testing.T, text string) {
	t.Helper()
	for _, trace := range []string{"goroutine", "panic", "what():", "terminate called", ".cpp:", "fatal error"} {
		assert.NotContains(t, text, trace)
	}
}

// shard writes n images of plain colours with captions.
func shard(t testing.TB, n int) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, data []byte) {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	for i := range n {
		img := image.NewRGBA(image.Rect(0, 0, 36, 36))
		for p := range 36 * 36 {
			img.SetRGBA(p%36, p/36, color.RGBA{R: uint8(40 * i), G: uint8(90 * i), B: uint8(p), A: 255})
		}
		var picture bytes.Buffer
		require.NoError(t, png.Encode(&picture, img))
		add(fmt.Sprintf("%03d.png", i), picture.Bytes())
		add(fmt.Sprintf("%03d.txt", i), []byte(fmt.Sprintf("square number %d", i)))
	}
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "data.tar")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
	return path
}

// tinyModel writes a small random model with patch dropout.
func tinyModel(t testing.TB) string {
	t.Helper()
	c, err := tower.ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":1,"width":32,"head_width":32,"patch_size":8,"patch_dropout":0.25},
		"text_cfg":{"context_length":16,"vocab_size":49408,"width":8,"heads":2,"layers":1}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "tiny")
	require.NoError(t, m.Save(dir))
	return dir
}

// steps reads metrics.jsonl and checks that the steps follow one another.
func steps(t *testing.T, dir string) (list []train.Step) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	require.NoError(t, err)
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var s train.Step
		require.NoError(t, json.Unmarshal([]byte(line), &s))
		require.Equal(t, i+1, s.Step)
		list = append(list, s)
	}
	return list
}

// TestFineTuneDefaults trains a directory's model: its defaults are those of fine-tuning, the log
// says so first, and a flag wins.
func TestFineTuneDefaults(t *testing.T) {
	model, data := tinyModel(t), shard(t, 20)
	for _, c := range []struct {
		args     []string
		says, lr string
	}{
		{nil, "fine-tuning trained weights: the defaults are --lr 1e-05 --wd 0.1 --token-embedding-lr -1", "\nlr: 1e-05\n"},
		{[]string{"--lr", "5e-4"}, "the defaults are --wd 0.1", "lr: 0.0005\n"},
	} {
		logs := t.TempDir()
		code, _, errs := command(t, append([]string{"--model", model, "--train-data", data, "--batch-size", "8", "--max-steps", "1", "--logs", logs, "--name", "run"}, c.args...)...)
		require.Equal(t, 0, code, errs)
		lines := strings.Split(errs, "\n")
		assert.Contains(t, lines[0], model+": its own trained weights")
		assert.Contains(t, lines[1], c.says)
		params, err := os.ReadFile(filepath.Join(logs, "run", "params.txt"))
		require.NoError(t, err)
		assert.Contains(t, string(params), c.lr)
		assert.Contains(t, string(params), "wd: 0.1\n")
	}
}

func TestHelpAndVersion(t *testing.T) {
	code, out, errs := command(t, "--help")
	assert.Equal(t, 0, code)
	assert.Contains(t, out, "--train-data")
	assert.Contains(t, out, "--resume latest")
	for _, flag := range []string{"--lock-image", "--lock-image-unlocked-groups", "--lock-image-freeze-bn-stats", "--lock-text", "--lock-text-unlocked-layers", "--lock-text-freeze-layer-norm"} {
		assert.Regexp(t, "(?m)^  +"+flag+"( |=|$)", out)
	}
	assert.Empty(t, errs)
	code, out, _ = command(t, "--version")
	assert.Equal(t, 0, code)
	assert.Contains(t, out, "goclip")
}

// TestRefusals gives one fault at a time: the exit status, a line that names it, and nothing
// written.
func TestRefusals(t *testing.T) {
	model, data, dir := tinyModel(t), shard(t, 20), t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o644))
		return path
	}
	whole, err := os.ReadFile(data)
	require.NoError(t, err)
	cut := write("cut.tar", whole[:len(whole)/2])
	noCaption := write("no-caption.tsv", []byte("filepath\tcaption\na.png\tx\n"))
	noImages := write("no-pictures.tar", make([]byte, 1024))
	empty := write("empty.csv", nil)
	file := write("file", nil)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--frobnicate"}, 2, "unknown flag --frobnicate"},
		{[]string{"stray"}, 2, "unexpected argument stray"},
		{[]string{"--epochs", "many"}, 2, "--epochs"},
		{[]string{"--lr"}, 2, "--lr"},
		{[]string{"--horovod", "--use-bn-sync", "--epochs", "0"}, 2, "train: --horovod is a flag of open_clip that goclip does not have: start the processes with --nproc-per-node, torchrun or srun; " +
			"--use-bn-sync is a flag of open_clip that goclip does not have: each process keeps its own batch statistics, as open_clip does without it; a ViT has none; --epochs 0"},
		{[]string{"--resume", "latest", "--name", ""}, 2, "--resume latest must have --name"},
		{[]string{"--resume", "latest", "--logs", "none"}, 2, "--logs none keeps nothing that --resume could continue"},
		{[]string{"--resume", file}, 2, "--resume " + file + ": must be a checkpoint directory of goclip's; --pretrained " + file},
		{[]string{"--force-image-size", "224", "336"}, 2, "must be one number; images are square"},
		{[]string{"--precision", "pure_fp16"}, 2, `--precision "pure_fp16": must be one of`},
		{[]string{"--distill-model", "ViT-B-32"}, 2, "--distill-model ViT-B-32 has no weights of its own; --distill-pretrained must name trained ones"},
		{[]string{"--report-to=wandb"}, 2, "--report-to wandb: goclip does not speak to Weights & Biases"},
		{[]string{"--metrics-addr=127.0.0.1:99999"}, 1, "--metrics-addr 127.0.0.1:99999: listen tcp: address 99999: invalid port"},
		{[]string{"--overfit=1"}, 2, "--overfit 1: must be at least 2 pairs"},
		{[]string{"--train-data", ""}, 2, "--train-data is missing"},
		{[]string{"--model", ""}, 2, "--model is empty"},
		{[]string{"--dataset-type", "parquet"}, 1, "it is not a Parquet file"},
		{[]string{"--csv-separator", "ab"}, 2, `--csv-separator "ab" is not one character`},
		{[]string{"--csv-separator", `"`}, 2, "--csv-separator"},
		{[]string{"--batch-size", "1"}, 2, "--batch-size 1"},
		{[]string{"--epochs", "0"}, 2, "--epochs 0"},
		{[]string{"--max-steps", "-1"}, 2, "--max-steps -1"},
		{[]string{"--lr", "0"}, 2, "--lr 0"},
		{[]string{"--lr", "NaN"}, 2, "--lr NaN"},
		{[]string{"--lr", "Inf"}, 2, "--lr +Inf"},
		{[]string{"--beta1", "1"}, 2, "--beta1 1"},
		{[]string{"--beta2", "-0.1"}, 2, "--beta2 -0.1"},
		{[]string{"--eps", "0"}, 2, "--eps 0"},
		{[]string{"--wd", "-1"}, 2, "--wd -1"},
		{[]string{"--warmup", "-2"}, 2, "--warmup -2"},
		{[]string{"--lr-scheduler", "linear"}, 2, `--lr-scheduler "linear": must be one of cosine, const`},
		{[]string{"--warmup", "ten"}, 2, "--warmup"},
		{[]string{"--warmup", "1.5"}, 2, "--warmup 1.5: must be a whole number of steps, or a fraction of the run below 1"},
		{[]string{"--lr-scheduler", "const-cooldown"}, 2, "--lr-scheduler const-cooldown requires --epochs-cooldown"},
		{[]string{"--epochs-cooldown", "1"}, 2, "--epochs-cooldown 1 requires --lr-scheduler const-cooldown"},
		{[]string{"--lr-scheduler", "const-cooldown", "--epochs-cooldown", "2"}, 2, "--epochs-cooldown 2 is more than the run's 1 epochs"},
		{[]string{"--lr-scheduler", "const-cooldown", "--epochs-cooldown", "1"}, 2, "--epochs-cooldown 1: its 2 steps do not fit behind the warm-up"},
		{[]string{"--lr-scheduler", "const-cooldown", "--epochs-cooldown", "1", "--lr-cooldown-end", "1"}, 2, "--lr-cooldown-end 1"},
		{[]string{"--lr-scheduler", "const-cooldown", "--epochs-cooldown", "1", "--lr-cooldown-power", "0"}, 2, "--lr-cooldown-power 0"},
		{[]string{"--opt", "timm/lion"}, 2, `--opt "timm/lion": goclip has adamw alone`},
		{[]string{"--image-layer-decay", "1.5"}, 2, "--image-layer-decay 1.5 is outside [0, 1]"},
		{[]string{"--text-layer-decay", "-1"}, 2, "--text-layer-decay -1 is outside [0, 1]"},
		{[]string{"--ema-decay", "1"}, 2, "--ema-decay 1 is outside [0, 1)"},
		{[]string{"--wise-ft", "1"}, 2, "--wise-ft 1 is outside [0, 1)"},
		{[]string{"--wise-ft", "0.5", "--model", "ViT-S-32-alt"}, 2, "--wise-ft must have trained weights to begin with"},
		{[]string{"--lora-rank", "-1"}, 2, "--lora-rank -1 is negative"},
		{[]string{"--lora-alpha", "2"}, 2, "--lora-alpha 2 requires --lora-rank"},
		{[]string{"--lora-rank", "2", "--lock-image", "--lock-image-unlocked-groups", "1"}, 2, "a tower is adapted or locked; drop one"},
		{[]string{"--lora-rank", "2", "--model", "RN50"}, 1, "RN50 has a ResNet for a tower, which LoRA"},
		{[]string{"--grad-checkpointing", "--model", "RN50"}, 1, "RN50 has a ResNet for a tower, which gradient checkpointing"},
		{[]string{"--grad-clip-norm", "-1"}, 2, "--grad-clip-norm -1"},
		{[]string{"--precision", "fp8"}, 2, `--precision "fp8": must be one of`},
		{[]string{"--aug-cfg", "scale=[2,3]"}, 2, "--aug-cfg: preprocess: scale [2 3]"},
		{[]string{"--aug-cfg", "use_timm=True", "re_prob=0.3"}, 2, "use_timm=True is of timm's augmentation"},
		{[]string{"--image-mean", "0.5", "0.5"}, 2, "must be one number, or three"},
		{[]string{"--image-std", "0", "1", "1"}, 2, "--image-std, --image-interpolation, --image-resize-mode: preprocess: std[0] is 0"},
		{[]string{"--image-resize-mode", "crop"}, 2, `resize_mode "crop" is not one of`},
		{[]string{"--dataset-type", "zip"}, 2, `--dataset-type "zip": must be one of auto, csv, jsonl, parquet, webdataset, imagefolder, pairs, synthetic`},
		{[]string{"--dataset-type", "synthetic"}, 2, "--dataset-type synthetic requires --train-num-samples"},
		{[]string{"--captions", "all"}, 2, `--captions "all": must be one of draw, each`},
		{[]string{"--train-num-samples", "-3"}, 2, "--train-num-samples -3 is negative"},
		{[]string{"--train-num-samples", "3"}, 1, "3 samples make no batch of 8"},
		{[]string{"--train-data-upsampling-factors", "1"}, 2, "--train-data-upsampling-factors requires --dataset-resampled"},
		{[]string{"--train-data-upsampling-factors", "1::x", "--dataset-resampled"}, 2, "--train-data-upsampling-factors 1::x: must be a number for each source"},
		{[]string{"--train-data-upsampling-factors", "1::2", "--dataset-resampled"}, 1, "--train-data-upsampling-factors has 2 numbers and --train-data 1 sources"},
		{[]string{"--max-image-pixels", "-1"}, 2, "--max-image-pixels -1 is negative"},
		{[]string{"--json-text-key", "caption"}, 1, `a .json with "caption" of the same name`},
		{[]string{"--aug-cfg", "blur=1"}, 2, `"blur": must be one of scale`},
		{[]string{"--force-patch-dropout", "1"}, 2, "--force-patch-dropout 1"},
		{[]string{"--force-patch-dropout", "-0.5"}, 2, "--force-patch-dropout -0.5"},
		{[]string{"--force-image-size", "-1"}, 2, "--force-image-size -1 is negative"},
		{[]string{"--force-context-length", "-1"}, 2, "--force-context-length -1 is negative"},
		{[]string{"--force-image-size", "3"}, 1, "is larger than image_size 3"},
		{[]string{"--pretrained-image-path", file}, 1, "0 bytes are too few for a file of weights"},
		{[]string{"--pretrained-text-path", filepath.Join(dir, "none")}, 1, "none: no such file"},
		{[]string{"--lock-image", "--lock-image-unlocked-groups", "-1"}, 2, "--lock-image-unlocked-groups -1 is negative"},
		{[]string{"--lock-text", "--lock-text-unlocked-layers", "-1"}, 2, "--lock-text-unlocked-layers -1 is negative"},
		{[]string{"--lock-image", "--lock-image-unlocked-groups", "some"}, 2, "--lock-image-unlocked-groups"},
		{[]string{"--lock-image-unlocked-groups", "2"}, 2, "--lock-image-unlocked-groups 2 requires --lock-image"},
		{[]string{"--lock-text-unlocked-layers", "2", "--lock-image"}, 2, "--lock-text-unlocked-layers 2 requires --lock-text"},
		{[]string{"--lock-image-freeze-bn-stats"}, 2, "--lock-image-freeze-bn-stats requires --lock-image"},
		{[]string{"--lock-text-freeze-layer-norm"}, 2, "--lock-text-freeze-layer-norm requires --lock-text"},
		{[]string{"--lock-image", "--lock-text"}, 2, "--lock-image and --lock-text leave only the temperature to train"},
		{[]string{"--workers", "0"}, 2, "--workers 0"},
		{[]string{"--workers", "1000000000"}, 2, "--workers 1000000000: must be between 1 and 1024"},
		{[]string{"--threads", "100000"}, 2, "--threads 100000"},
		{[]string{"--device", "tpu"}, 2, `--device: device "tpu"`},
		{[]string{"--save-frequency", "-1"}, 2, "--save-frequency -1"},
		{[]string{"--save-every-n-steps", "-1"}, 2, "--save-every-n-steps -1"},
		{[]string{"--save-every-minutes", "NaN"}, 2, "--save-every-minutes NaN"},
		{[]string{"--val-frequency", "-1"}, 2, "--val-frequency -1"},
		{[]string{"--log-every-n-steps", "0"}, 2, "--log-every-n-steps 0"},
		{[]string{"--name", "a/b"}, 2, `--name "a/b"`},
		{[]string{"--epochs", "0", "--workers", "0"}, 2, "train: --epochs 0: must be at least 1; --workers 0"},
		{[]string{"--batch-size", "64"}, 1, "20 samples make no batch of 64"},
		{[]string{"--train-data", dir + "/gone.tar"}, 1, "gone.tar: no such file"},
		{[]string{"--train-data", dir + "/gone-{0..3}.csv"}, 1, "gone-0.csv: no such file"},
		{[]string{"--train-data", dir + "/*.webp", "--dataset-type", "webdataset"}, 1, "no file matches"},
		{[]string{"--train-data", cut}, 1, "the shard " + cut + " is damaged"},
		{[]string{"--train-data", noCaption}, 1, `it has no column "title", only ["filepath" "caption"]; --csv-caption-key names another`},
		{[]string{"--train-data", noImages}, 1, "holds no sample"},
		{[]string{"--train-data", empty}, 1, "it is empty; the first line must name the columns"},
		{[]string{"--train-data", file}, 1, "give --dataset-type"},
		{[]string{"--val-data", dir + "/gone.tar"}, 1, "--val-data: data: open " + dir + "/gone.tar: no such file"},
		{[]string{"--model", "ViT-Q"}, 1, `"ViT-Q" is neither a model directory, nor a file of weights, nor a built-in config`},
		{[]string{"--pretrained", dir + "/gone.safetensors"}, 1, "gone.safetensors"},
		{[]string{"--resume", dir + "/gone"}, 1, "--resume " + dir + "/gone"},
		{[]string{"--logs", file}, 1, file},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			logs := filepath.Join(t.TempDir(), "logs")
			args := append([]string{"--model", model, "--train-data", data, "--batch-size", "8", "--epochs", "1", "--warmup", "1", "--logs", logs, "--name", "run"}, c.args...)
			code, out, errs := command(t, args...)
			assert.Equal(t, c.code, code, errs)
			assert.Empty(t, out)
			assert.Contains(t, errs, c.says)
			assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
			assert.True(t, strings.HasPrefix(errs, "train: "), errs)
			assert.NoDirExists(t, logs)
		})
	}
	code, _, errs := command(t)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "train: --train-data is missing")
}

// TestPlanAndSelfTest are the two that write nothing: the plan goes to stdout, the self-test's
// verdict is the exit status.
func TestPlanAndSelfTest(t *testing.T) {
	logs := filepath.Join(t.TempDir(), "logs")
	args := []string{"--model", tinyModel(t), "--train-data", shard(t, 20), "--batch-size", "8", "--epochs", "1", "--warmup", "1", "--logs", logs}
	code, out, errs := command(t, append(args, "--dry-run")...)
	assert.Equal(t, 0, code)
	assert.Contains(t, out, "2 of 8 pairs, 0 done; cosine after 1 steps of warm-up")
	assert.Contains(t, out, "at a step's worst moment: weights ")
	assert.Empty(t, errs)
	code, out, errs = command(t, append(args, "--overfit", "4", "--max-steps", "2", "--lr", "1e-9")...)
	assert.Equal(t, 1, code)
	assert.Empty(t, out)
	assert.Contains(t, errs, "train: --overfit 4: after 2 steps the loss is ")
	assert.NoDirExists(t, logs)
}

// TestResumeOfOtherFlags refuses flags that would not continue a run, by their names, and continues
// a run of an earlier goclip, whose checkpoints have flags alone.
func TestResumeOfOtherFlags(t *testing.T) {
	logs := t.TempDir()
	args := []string{"--model", tinyModel(t), "--train-data", shard(t, 20), "--batch-size", "8", "--max-steps", "1", "--warmup", "0", "--captions", "draw", "--lr", "0.001", "--workers", "1", "--logs", logs, "--name", "run"}
	code, _, errs := command(t, args...)
	require.Equal(t, 0, code, errs)
	for _, c := range []struct{ args, says string }{
		{"--captions each", "--captions draw, not each"},
		{"--train-num-samples 9", "--train-num-samples 0, not 9"},
		{"--dataset-resampled", "--dataset-resampled false, not true"},
		{"--image-mean 0.5", "--image-mean [], not [0.5 0.5 0.5]"},
		{"--max-image-pixels 7", "--max-image-pixels 178956970, not 7"},
		{"--force-image-size 40", "--force-image-size 0, not 40"},
		{"--lr 0.002", "--lr 0.001, not 0.002"},
		{"--lock-image --lr 0.002", "--lr 0.001, not 0.002, and --lock-image false, not true"},
		{"--batch-size 4", "--batch-size 8, not 4"},
	} {
		code, _, errs := command(t, append(append(args, "--resume", "latest"), strings.Fields(c.args)...)...)
		assert.Equal(t, 1, code)
		assert.Equal(t, "train: --resume: the run was started with "+c.says+"; "+mayChange()+"; --pretrained "+logs+"/run begins a new run from its weights\n", errs)
	}
	code, _, errs = command(t, args...)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "holds a run already; --resume latest --name run continues it, or give another --name")

	file := filepath.Join(logs, "run", "checkpoints", "latest", "train_state", "state.json")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var state map[string]any
	require.NoError(t, json.Unmarshal(text, &state))
	for _, later := range []string{"config", "files", "seal"} {
		require.Contains(t, state, later)
		delete(state, later)
	}
	text, err = json.Marshal(state)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text, 0o644))
	code, _, errs = command(t, append(args, "--resume", "latest", "--wd", "0.3")...)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "the run was started with --wd 0.1, not 0.3")
	code, _, errs = command(t, append(args, "--resume", "latest")...)
	assert.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "continuing after step 1 of 1")
}

// TestValues reads the flags whose values are texts of their own.
func TestValues(t *testing.T) {
	for text, want := range map[string]warmup{"200": 200, "0.1": 0.1, "10%": 0.1, "0": 0, "-1": -1} {
		var w warmup
		require.NoError(t, w.UnmarshalText([]byte(text)))
		assert.InDelta(t, float64(want), float64(w), 1e-12, text)
	}
	for _, text := range []string{"", "ten", "100%", "-5%", "1%%"} {
		var w warmup
		assert.Error(t, w.UnmarshalText([]byte(text)), text)
	}
	var three triple
	require.NoError(t, three.UnmarshalText([]byte("0.5 0.25,0.5")))
	assert.Equal(t, triple{0.5, 0.25, 0.5}, three)
	require.NoError(t, three.UnmarshalText([]byte("0.5")))
	assert.Equal(t, triple{0.5, 0.5, 0.5}, three)
}
