package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train/evaluate"
)

var evalSets = filepath.Join("..", "..", "testdata", "evaluate")

// evalLines are the results that infer eval prints.
func evalLines(t *testing.T, args ...string) (results []evaluate.Result) {
	t.Helper()
	code, out, errs := infer(t, "", append([]string{"eval", "--format", "json"}, args...)...)
	require.Equal(t, 0, code, errs)
	for line := range strings.Lines(out) {
		var r evaluate.Result
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		assert.Equal(t, "en", r.Language)
		results = append(results, r)
	}
	return results
}

// TestEval is CLIP_benchmark's numbers to the digit, under its names (testdata/evaluate).
func TestEval(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(evalSets, "goldens.json"))
	require.NoError(t, err)
	var golden struct {
		ZeroShot  evaluate.Metrics  `json:"zeroshot_classification"`
		Retrieval evaluate.Metrics  `json:"zeroshot_retrieval"`
		Probes    []json.RawMessage `json:"linear_probe"`
	}
	require.NoError(t, json.Unmarshal(text, &golden))
	labelled, captioned := filepath.Join(evalSets, "classes"), filepath.Join(evalSets, "captions")
	results := evalLines(t, "--data", labelled, "--data", captioned, "--batch-size", "16")
	require.Len(t, results, 2)
	for i, want := range []struct {
		task, data string
		metrics    evaluate.Metrics
	}{{evaluate.TaskZeroShot, labelled, golden.ZeroShot}, {evaluate.TaskRetrieval, captioned, golden.Retrieval}} {
		r := results[i]
		assert.Equal(t, []string{want.task, want.data, "emoji-64", ""}, []string{r.Task, r.Dataset, r.Model, r.Pretrained})
		for name, x := range want.metrics {
			assert.Equal(t, x, r.Metrics[name], name)
		}
	}
	assert.Equal(t, 60.0, results[1].Metrics["num_texts"])

	probe := evalLines(t, "--task", "linear-probe", "--data", labelled, "--probe-batch-size", "16")[0]
	var want struct {
		Acc1   float64 `json:"lp_acc1"`
		Acc5   float64 `json:"lp_acc5"`
		Recall float64 `json:"lp_mean_per_class_recall"`
	}
	require.NoError(t, json.Unmarshal(golden.Probes[0], &want))
	assert.Equal(t, []float64{want.Acc1, want.Acc5, want.Recall},
		[]float64{probe.Metrics["lp_acc1"], probe.Metrics["lp_acc5"], probe.Metrics["lp_mean_per_class_recall"]})
}

// TestEvalKinds evaluates folders, a table of labels and shards.
func TestEvalKinds(t *testing.T) {
	tiny, dir := tinyModel(t), folders(t, 4, "airplane", "sea_ship")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "airplane", "broken.png"), []byte("\x89PNG\r\n\x1a\n"), 0o644))
	code, out, errs := infer(t, "", "eval", "--model", tiny, "--model", tiny, "--data", dir, "--template", "a {}")
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "broken.png: ")
	assert.Equal(t, 2, strings.Count(out, tiny+"  "+dir))
	assert.Regexp(t, `8 +2\n`, out, "8 images and 2 classes")
	require.NoError(t, os.Remove(filepath.Join(dir, "airplane", "broken.png")))

	table := filepath.Join(dir, "t.csv")
	require.NoError(t, os.WriteFile(table, []byte("filepath,label\nairplane/0.png,0\nsea_ship/0.png,8\nsea_ship/1.png,8\n"), 0o644))
	r := evalLines(t, "--model", tiny, "--data", table, "--csv-caption-key", "label", "--classes", "cifar10")[0]
	assert.Equal(t, evaluate.TaskZeroShot, r.Task)
	assert.Equal(t, []float64{3, 10}, []float64{r.Metrics["num_samples"], r.Metrics["num_classes"]})

	names := filepath.Join(t.TempDir(), "names.txt")
	require.NoError(t, os.WriteFile(names, []byte("plane\nship\n"), 0o644))
	r = evalLines(t, "--model", tiny, "--data", dir, "--classes", names)[0]
	assert.NotContains(t, r.Metrics, "acc5", "two classes")

	r = evalLines(t, "--model", tiny, "--data", dir, "--task", "retrieval")[0]
	assert.Equal(t, []float64{8, 8}, []float64{r.Metrics["num_samples"], r.Metrics["num_texts"]})
	assert.Less(t, r.Metrics["text_to_image_mean_rank"], 5.0, "every image of the class fits a text")

	code, out, errs = infer(t, "", "eval", "--model", tiny, "--format", "csv", "--task", "linear-probe", "--data", dir, "--train-data", dir, "--shots", "2")
	require.Equal(t, 0, code, errs)
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(t, err)
	assert.Equal(t, []string{"dataset", "model", "pretrained", "task", "language"}, rows[0][:5])
	assert.Equal(t, []string{dir, tiny, "", "linear_probe", "en"}, rows[1][:5])
}

func TestEvalRefusals(t *testing.T) {
	labelled, captioned := filepath.Join(evalSets, "classes"), filepath.Join(evalSets, "captions")
	names := filepath.Join(t.TempDir(), "names.txt")
	require.NoError(t, os.WriteFile(names, []byte("plane\nship\n"), 0o644))
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{2, "missing flags: --data", nil},
		{2, "--pretrained is for one --model", []string{"--data", labelled, "--model", "a", "--model", "b", "--pretrained", "openai"}},
		{2, "--train-data is given 1 times and --data 2 times", []string{"--data", labelled, "--data", labelled, "--train-data", labelled, "--task", "linear-probe"}},
		{2, "--train-data goes with --task linear-probe", []string{"--data", labelled, "--train-data", labelled}},
		{2, "--classes and --template go with --task zeroshot", []string{"--data", captioned, "--task", "retrieval", "--classes", "imagenet"}},
		{2, "--shots -1", []string{"--data", labelled, "--shots", "-1"}},
		{2, "must have --train-data", []string{"--data", folders(t, 1, "a", "b"), "--task", "linear-probe"}},
		{2, "--csv-separator", []string{"--data", labelled, "--csv-separator", "ab"}},
		{1, "val/nshards.txt: no such file", []string{"--data", captioned, "--split", "val"}},
		{1, "has captions and no classes", []string{"--data", captioned, "--task", "zeroshot"}},
		{1, "has 2 names, and", []string{"--data", labelled, "--classes", names}},
		{1, `the class "telescope" is not one of the 10 names`, []string{"--data", labelled, "--classes", "cifar10"}},
		{1, "sets that are built in are imagenet, cifar10, cifar100", []string{"--data", labelled, "--classes", "cifar1000"}},
		{1, "no such file", []string{"--data", "none.csv"}},
	} {
		code, _, errs := infer(t, "", append([]string{"eval"}, c.args...)...)
		assert.Equal(t, c.code, code, errs)
		assert.Contains(t, oneLine(t, errs), c.says)
	}
}
