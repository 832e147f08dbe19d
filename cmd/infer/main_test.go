package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
)

// asCommand makes the test's binary be infer, in which no file grows beyond fileLimit bytes if that
// is set. The test's own process must not be limited: go test writes a log from it.
const (
	asCommand = "GOCLIP_TEST_AS_COMMAND"
	fileLimit = "GOCLIP_TEST_FILE_LIMIT"
)

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		if n, err := strconv.ParseUint(os.Getenv(fileLimit), 10, 64); err == nil {
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
				panic(err)
			}
		}
		main()
	}
	// What this machine's user has fetched must not choose the model.
	home, err := os.MkdirTemp("", "goclip-test-")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "GOCLIP_CACHE", "HF_HOME", "HF_HUB_CACHE", modelVariable} {
		_ = os.Unsetenv(name)
	}
	_ = os.Setenv("HOME", home)
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// infer runs the command in this process and checks what holds of every run: no Go or C++ trace,
// and one of three exit statuses.
func infer(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(in), &o, &e)
	noTrace(t, o.String()+e.String())
	assert.Contains(t, []int{0, 1, 2}, code)
	return code, o.String(), e.String()
}

func noTrace(t *testing.T, text string) {
	t.Helper()
	for _, trace := range []string{"goroutine", "panic", "what():", "terminate called", ".cpp:", "fatal error"} {
		assert.NotContains(t, text, trace)
	}
}

// oneLine checks that a message is a line of its own that begins with the command's name, and
// returns it.
func oneLine(t *testing.T, errs string) string {
	t.Helper()
	assert.Equal(t, 1, strings.Count(errs, "\n"), "more than one line: %q", errs)
	assert.True(t, strings.HasPrefix(errs, "infer: "), errs)
	return strings.TrimSuffix(errs, "\n")
}

// process is the command as a process of its own.
func process(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

const tinyConfig = `{"embed_dim":16,"vision_cfg":{"image_size":32,"layers":2,"width":64,"head_width":32,"patch_size":8},
	"text_cfg":{"context_length":16,"vocab_size":49408,"width":8,"heads":2,"layers":2}}`

// tinyModel writes a small random model.
func tinyModel(t testing.TB) string {
	t.Helper()
	c, err := tower.ParseConfig([]byte(tinyConfig))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "tiny")
	require.NoError(t, m.Save(dir))
	return dir
}

// image is one of the decoders' test images.
func testImage(name string) string {
	return filepath.Join("..", "..", "testdata", "preprocess", "pictures", name)
}

func writeFile(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// names lists a directory, hidden files too.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestCommandLine(t *testing.T) {
	tiny, face := tinyModel(t), testImage("face.png")
	dir := t.TempDir()
	nothing := writeFile(t, dir, "nothing.txt", nil)
	long := writeFile(t, dir, "long.txt", bytes.Repeat([]byte("a"), 2<<20))
	file := writeFile(t, dir, "file", nil)
	for _, c := range []struct {
		args string // separated by spaces; TINY, FACE and DIR stand for paths
		code int
		says string
	}{
		{"", 2, `expected one of "score"`},
		{"frobnicate", 2, "unexpected argument frobnicate"},
		{"score --frobnicate", 2, "unknown flag --frobnicate"},
		{"score --model TINY --text a", 2, "no image: give --image PATH"},
		{"score --model TINY --image FACE", 2, "no text: give --text TEXT"},
		{"score --model TINY --image FACE --text a --format xml", 2, "--format must be one of"},
		{"score --model TINY --image FACE --text a --precision int4", 2, "--precision must be one of"},
		{"score --model TINY --image FACE --text a --device tpu", 2, `--device: device "tpu": must be one of auto, cpu, cuda`},
		{"score --model TINY --image FACE --text a --device cuda:99", 2, "--device: device cuda:99"},
		{"score --model TINY --image FACE --text a --batch-size 0", 2, "--batch-size 0: must be between 1 and 4096"},
		{"score --model TINY --image FACE --text a --batch-size 1000000000", 2, "--batch-size 1000000000"},
		{"score --model TINY --image FACE --text a --batch-size x", 2, "--batch-size"},
		{"score --model TINY --image FACE --text a --threads -1", 2, "--threads"},
		{"score --model TINY --image FACE --text a --threads 100000", 2, "--threads 100000: must be between 1 and 1024"},
		{"search --engine qdrant a DIR", 2, `--engine: the engine "qdrant" must be exact, faiss or postgres://HOST/DATABASE`},
		{"score --model TINY --image FACE --texts DIR/gone.txt", 1, "--texts: open DIR/gone.txt: no such file"},
		{"score --model TINY --image FACE --texts DIR", 1, "--texts: read DIR: is a directory"},
		{"score --model TINY --image FACE --texts " + nothing, 1, "nothing.txt holds no line"},
		{"score --model TINY --image FACE --texts -", 1, "--texts: - holds no line"},
		{"score --model TINY --image FACE --texts " + long, 1, "long.txt: a line is longer than 1048576 bytes"},
		{"score --model ViT-Q --image FACE --text a", 1, `"ViT-Q" is neither a model directory, nor a file of weights, nor a built-in config such as ViT-B-32: `},
		{"score --model ViT-B-32 --image FACE --text a", 1, "the config ViT-B-32 has no weights of its own: give --pretrained"},
		{"score --model emoji-64 --pretrained DIR/gone.safetensors --image FACE --text a", 1, "gone.safetensors"},
		{"score --model DIR --image FACE --text a", 1, "DIR holds neither open_clip_config.json nor config.json"},
		{"embed --model TINY --out DIR/out", 2, "nothing to embed"},
		{"embed --model TINY FACE", 2, "--out"},
		{"embed --model TINY --out DIR/out --image-list - --texts -", 2, "cannot both be stdin"},
		{"embed --model TINY --out DIR/out --image-list DIR/gone", 1, "--image-list: open DIR/gone"},
		{"embed --model TINY --out " + file + "/x FACE", 1, "--out: mkdir"},
		{"inspect DIR/gone", 1, "gone\" is neither a model directory, nor a file of weights, nor a built-in config"},
		{"inspect TINY --format yaml", 2, "--format must be one of"},
		{"tokenize --model ViT-Q", 1, "ViT-Q"},
		{"report --run DIR", 2, "--out"},
		{"report --run DIR --scores DIR/gone.csv --out DIR/page.html", 1, "--scores DIR/gone.csv: open"},
		{"models qqq", 1, "no model has qqq; infer models lists all"},
	} {
		t.Run(c.args, func(t *testing.T) {
			fill := strings.NewReplacer("TINY", tiny, "FACE", face, "DIR", dir)
			code, out, errs := infer(t, "", strings.Fields(fill.Replace(c.args))...)
			assert.Equal(t, c.code, code, errs)
			assert.Empty(t, out)
			assert.Contains(t, oneLine(t, errs), fill.Replace(c.says))
		})
	}
	assert.NoDirExists(t, filepath.Join(dir, "out"))
	assert.NoFileExists(t, filepath.Join(dir, "page.html"))
}

func TestHelpAndVersion(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--help"}, "Compare every image with every text"}, {[]string{"score", "--help"}, "--texts=FILE"},
		{[]string{"embed", "--help"}, "--raw"}, {[]string{"--version"}, "goclip"},
	} {
		code, out, errs := infer(t, "", c.args...)
		assert.Equal(t, 0, code)
		assert.Contains(t, out, c.says)
		assert.Empty(t, errs)
	}
}

func TestModels(t *testing.T) {
	code, out, errs := infer(t, "", "models")
	assert.Equal(t, 0, code)
	assert.Empty(t, errs)
	var listed []string
	tags := map[string][]string{}
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		fields := strings.Fields(line)
		if i == 0 {
			assert.Equal(t, []string{"model", "tag", "parameters", "image", "ImageNet", "here"}, fields)
			continue
		}
		if !slices.Contains(listed, fields[0]) {
			listed = append(listed, fields[0])
		}
		tags[fields[0]] = append(tags[fields[0]], fields[1])
	}
	assert.Equal(t, tower.ConfigNames(), listed)
	assert.Subset(t, tags["ViT-B-32"], []string{"openai", "laion2b_s34b_b79k"})
	assert.Equal(t, []string{"-"}, tags["ViT-S-32-alt"], "no weights are published")
}

// TestModelsFilters finds rows by words and size, in each format.
func TestModelsFilters(t *testing.T) {
	code, out, errs := infer(t, "", "models", "--format", "json", "VIT-b-32", "openai")
	require.Zero(t, code, errs)
	var row modelRow
	quick, plain, _ := strings.Cut(out, "\n")
	require.NoError(t, json.Unmarshal([]byte(plain), &row))
	assert.Equal(t, modelRow{Model: "ViT-B-32", Tag: "openai", Hub: "timm/vit_base_patch32_clip_224.openai", Parameters: 151277313, Image: "224", ImageNet: 0.6332, Parity: true}, row)
	assert.Contains(t, quick, `"model":"ViT-B-32-quickgelu"`)
	code, out, errs = infer(t, "", "models", "--max-params", "0.1B", "--format", "csv", "mobileclip")
	require.Zero(t, code, errs)
	assert.Contains(t, out, "MobileCLIP-S1,datacompdr,85M,256,,apple-amlr,")
	assert.NotContains(t, out, "MobileCLIP-B,")
	code, out, errs = infer(t, "", "models", "--format", "markdown", "coca")
	require.Zero(t, code, errs)
	assert.True(t, strings.HasPrefix(out, "| model | tag | parameters | image | ImageNet | license | parity | hub |\n|---|"), out)
	assert.Contains(t, out, "| coca_ViT-L-14 | mscoco_finetuned_laion2b_s13b_b90k | 638M | 224 | 72.0% |")
	for args, says := range map[string]string{"models nothing": "no model has nothing", "models --max-params many": "must be a number such as 200M"} {
		code, _, errs := infer(t, "", strings.Fields(args)...)
		assert.NotZero(t, code)
		assert.Contains(t, oneLine(t, errs), says)
	}
}

// TestModelsPage holds docs/models.md against the command that makes its table.
func TestModelsPage(t *testing.T) {
	page := string(readFile(t, filepath.Join("..", "..", "docs", "models.md")))
	code, out, errs := infer(t, "", "models", "--format", "markdown")
	require.Zero(t, code, errs)
	assert.Contains(t, page, out, "make docs/models.md writes it")
}

// TestFullOutput writes to a device that is always full, in a process of its own.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	tiny := tinyModel(t)
	for _, format := range []string{"table", "json", "csv"} {
		var errs bytes.Buffer
		cmd := process("score", "--model", tiny, "--image", testImage("face.png"), "--text", "a", "--format", format)
		cmd.Stdout, cmd.Stderr = full, &errs
		require.Error(t, cmd.Run())
		assert.Equal(t, 1, cmd.ProcessState.ExitCode())
		assert.Contains(t, oneLine(t, errs.String()), "no space left on device")
	}
}
