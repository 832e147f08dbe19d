package evaluate

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train/data"
)

// goldens are what CLIP_benchmark's functions say of the built-in model
// (testdata/evaluate/make_goldens.py).
type goldens struct {
	ZeroShot  Metrics                      `json:"zeroshot_classification"`
	Retrieval Metrics                      `json:"zeroshot_retrieval"`
	Probes    []map[string]json.RawMessage `json:"linear_probe"`
}

var testSets = filepath.Join("..", "..", "testdata", "evaluate")

func shipped(t *testing.T) *clip.Model {
	t.Helper()
	m, err := clip.OpenFS(t.Context(), models.FS(), models.Default, nil)
	require.NoError(t, err)
	return m
}

func benchmark(t *testing.T, name, split string) *data.Benchmark {
	t.Helper()
	set, err := data.OpenBenchmark(t.Context(), filepath.Join(testSets, name), split, nil)
	require.NoError(t, err)
	return set
}

func readGoldens(t *testing.T) (g goldens) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testSets, "goldens.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &g))
	return g
}

// TestBenchmarkZeroShot is CLIP_benchmark's zeroshot_classification.evaluate to the digit.
func TestBenchmarkZeroShot(t *testing.T) {
	m, set := shipped(t), benchmark(t, "classes", "test")
	require.Len(t, set.Templates, 3)
	images, err := NewImages(t.Context(), m, set, &Options{BatchSize: 16})
	require.NoError(t, err)
	classifier, err := m.Classifier(t.Context(), set.Classes(), set.Templates...)
	require.NoError(t, err)
	z, err := images.ZeroShot(t.Context(), m, classifier)
	require.NoError(t, err)
	assert.Equal(t, readGoldens(t).ZeroShot, z.Benchmark())
	assert.Zero(t, z.Unreadable)

	classifier.Names = classifier.Names[:2]
	_, err = images.ZeroShot(t.Context(), m, classifier)
	assert.ErrorContains(t, err, "the classifier has 2 classes and the images 15")
}

// TestBenchmarkRetrieval is zeroshot_retrieval.evaluate to the digit, with several captions an
// image.
func TestBenchmarkRetrieval(t *testing.T) {
	m, set := shipped(t), benchmark(t, "captions", "test")
	pairs, err := NewPairs(t.Context(), m, set, &Options{BatchSize: 16})
	require.NoError(t, err)
	r, err := pairs.Retrieval(t.Context(), m)
	require.NoError(t, err)
	assert.Equal(t, readGoldens(t).Retrieval, r.Benchmark())
	assert.Equal(t, []int{30, 60, 0}, []int{r.Images, r.Texts, r.Repeated})
	assert.InDelta(t, r.Benchmark()["image_retrieval_recall@5"], r.Metrics(false)["text_to_image_R@5"], 1e-6)
	assert.Equal(t, r.Own, r.Equal)
}

// repeated are the samples of a set with a caption in common.
type repeated struct{ data.Dataset }

func (s repeated) Sample(ctx context.Context, i int) (data.Sample, error) {
	sample, err := s.Dataset.Sample(ctx, i)
	sample.Texts = []string{"a thing", sample.Texts[0]}
	return sample, err
}

// TestEqualCaptions has a caption that fits every image: it finds one at the first place.
func TestEqualCaptions(t *testing.T) {
	m := shipped(t)
	pairs, err := NewPairs(t.Context(), m, repeated{benchmark(t, "captions", "test")}, nil)
	require.NoError(t, err)
	r, err := pairs.Retrieval(t.Context(), m)
	require.NoError(t, err)
	assert.Equal(t, []int{30, 60, 29}, []int{r.Images, r.Texts, r.Repeated})
	own, equal := r.Metrics(false), r.Metrics(true)
	assert.GreaterOrEqual(t, equal["text_to_image_R@1"], 0.5)
	assert.Less(t, own["text_to_image_R@1"], 0.5)
	assert.Less(t, equal["image_to_text_mean_rank"], own["image_to_text_mean_rank"])
	assert.Equal(t, own["clip_val_loss"], equal["clip_val_loss"])
	for j := range r.Equal.TextToImage {
		assert.LessOrEqual(t, r.Equal.TextToImage[j], r.Own.TextToImage[j])
	}
}

// TestBenchmarkProbe is linear_probe.evaluate: its accuracies to the digit, its weights to rounding.
func TestBenchmarkProbe(t *testing.T) {
	m := shipped(t)
	var rows [2]Labelled
	for i, split := range []string{"train", "test"} {
		images, err := NewImages(t.Context(), m, benchmark(t, "classes", split), nil)
		require.NoError(t, err)
		rows[i], err = images.Features(t.Context(), m)
		require.NoError(t, err)
	}
	golden := readGoldens(t).Probes
	require.Len(t, golden, 3)
	state := torch.RNGState(torch.CPU)
	for i, o := range []ProbeOptions{{}, {WeightDecay: -1, Validation: &rows[1]}, {Shots: 3}} {
		o.BatchSize = 16
		r, err := LinearProbe(rows[0], rows[1], o)
		require.NoError(t, err)
		delete(golden[i], "normalized")
		var bias []float32
		if i == 0 {
			require.NoError(t, json.Unmarshal(golden[i]["bias"], &bias))
			delete(golden[i], "bias")
		}
		want, err := json.Marshal(golden[i])
		require.NoError(t, err)
		got, err := json.Marshal(r.Benchmark(o))
		require.NoError(t, err)
		assert.JSONEq(t, string(want), string(got))
		if i == 0 {
			torch.ManualSeed(0)
			order, err := permutation(len(rows[0].Classes))
			require.NoError(t, err)
			_, b, err := fitProbe(rows[0].rows(order), 8, o.filled())
			require.NoError(t, err)
			assert.InDeltaSlice(t, bias, torch.ToSlice[float32](b.Detach()), 1e-5)
			require.NoError(t, torch.SetRNGState(torch.CPU, state))
		}
		assert.Equal(t, state, torch.RNGState(torch.CPU), "the generator is as it was")
	}
	_, err := LinearProbe(rows[0], rows[1], ProbeOptions{Shots: 99})
	assert.ErrorContains(t, err, "99 shots are asked for")
	_, err = LinearProbe(rows[0], Labelled{}, ProbeOptions{})
	assert.ErrorContains(t, err, "0 numbers are no features of 0 test rows")
}

// TestInterrupted gives the error of a context that has ended.
func TestInterrupted(t *testing.T) {
	m, set := shipped(t), benchmark(t, "captions", "test")
	pairs, err := NewPairs(t.Context(), m, set, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = pairs.Retrieval(ctx, m)
	assert.ErrorIs(t, err, context.Canceled)
}

// TestOrient evaluates an image that lies on its side: as it lies, as open_clip does, and upright.
func TestOrient(t *testing.T) {
	lying := filepath.Join("..", "..", "testdata", "preprocess", "pictures", "orientation6.jpg")
	content, err := os.ReadFile(lying)
	require.NoError(t, err)
	dir := t.TempDir()
	for _, class := range []string{"a", "b"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, class), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, class, "x.jpg"), content, 0o644))
	}
	set, err := data.OpenFolders(t.Context(), dir)
	require.NoError(t, err)
	m := shipped(t)
	for _, orient := range []bool{false, true} {
		images, err := NewImages(t.Context(), m, set, &Options{Orient: orient})
		require.NoError(t, err)
		got, err := images.Features(t.Context(), m)
		require.NoError(t, err)
		for want, err := range (clip.Encoder{Model: m, Orient: orient}).Images(t.Context(), clip.FromFiles(lying)) {
			require.NoError(t, err)
			assert.InDelta(t, 1, clip.Cosine(want, got.Features[:len(want)]), 1e-6, "orient %v", orient)
		}
		for other, err := range (clip.Encoder{Model: m, Orient: !orient}).Images(t.Context(), clip.FromFiles(lying)) {
			require.NoError(t, err)
			assert.Less(t, clip.Cosine(other, got.Features[:len(other)]), 0.999, "orient %v", orient)
		}
	}
}
