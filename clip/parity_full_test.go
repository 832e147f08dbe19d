//go:build parity

package clip

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/tilemodel"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// The largest differences allowed: of a normalised feature, and of a logit, which is about 14 cosines.
const (
	featureTolerance = 1e-5
	logitTolerance   = 1e-4
)

// parityRow is what testdata/parity/run.py puts into its table.
type parityRow struct {
	Parameters  int                `json:"parameters"`
	LoadSeconds float64            `json:"load_seconds"`
	LoadPeakMB  float64            `json:"load_peak_mb"` // the process's largest resident size after loading
	LoadAnonMB  float64            `json:"load_anon_mb"` // resident and not a file's pages
	Image       float64            `json:"image"`        // largest differences from here on
	Text        float64            `json:"text"`
	Logits      float64            `json:"logits"`
	Split       *float64           `json:"split"` // of a feature with three bfloat16 products for each float32 product
	Cuts        map[string]float64 `json:"cuts"`  // with the first blocks only: "image/0.25" ...; none for a format
}

// TestParityFull compares the model in the directory that GOCLIP_PARITY names with the outputs.safetensors beside its
// weights, which the model's own Python library computed, and writes row.json there. With GOCLIP_PARITY_SPLIT it also
// compares with split products, which takes minutes on a processor without AMX.
func TestParityFull(t *testing.T) {
	split := os.Getenv("GOCLIP_PARITY_SPLIT") != ""
	if split {
		tilemodel.On(t)
	}
	dir := os.Getenv("GOCLIP_PARITY")
	require.NotEmpty(t, dir, "GOCLIP_PARITY names no directory; make parity sets it")
	shares := []float64{0.25, 0.5, 0.75, 1}
	open, isFormat := readOpening(t, dir)
	if isFormat {
		shares = []float64{1}
	}
	options := open.options(dir)
	start := time.Now()
	m, err := Open(t.Context(), open.name(dir), &options)
	require.NoError(t, err)
	row := parityRow{LoadSeconds: time.Since(start).Seconds(), LoadPeakMB: residentSize(t, "VmHWM"), LoadAnonMB: residentSize(t, "RssAnon"),
		Parameters: m.NumParameters(), Cuts: map[string]float64{}}
	f, err := checkpoint.Open(filepath.Join(dir, "outputs.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	g := golden.Of(t, f)
	var full map[string][]float32
	differences := map[string]float64{}
	for _, share := range shares {
		full = encode(t, cut(t, m, share), f)
		for _, part := range []string{"image", "text"} {
			key := part + "/" + strconv.FormatFloat(share, 'g', -1, 64)
			differences[key] = difference(t, g.Floats(key), full[part])
			assert.LessOrEqual(t, differences[key], featureTolerance, "%s: features with this fraction of the blocks", key)
		}
	}
	row.Image, row.Text = differences["image/1"], differences["text/1"]
	if isFormat {
		open.check(t, dir, m)
	} else {
		row.Cuts = differences
	}
	row.Logits = difference(t, g.Floats("logits"), full["logits"])
	assert.LessOrEqual(t, row.Logits, logitTolerance, "logits")
	if split {
		require.NoError(t, m.PackImages(torch.PackBFloat16x3))
		require.NoError(t, m.PackTexts(torch.PackBFloat16x3))
		packed := encode(t, m, f)
		assert.NotEqual(t, full, packed, "the products are split")
		largest := max(difference(t, g.Floats("image/1"), packed["image"]), difference(t, g.Floats("text/1"), packed["text"]))
		assert.LessOrEqual(t, largest, featureTolerance, "features with split products")
		row.Split = &largest
	}
	data, err := json.Marshal(row)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "row.json"), data, 0o644))
}

// encode computes normalised features and logits of the file's inputs.
func encode(t *testing.T, m *Model, f *checkpoint.File) map[string][]float32 {
	t.Helper()
	pixels, ok := f.Entry("pixels")
	require.True(t, ok, "pixels")
	tokens, ok := f.Entry("tokens")
	require.True(t, ok, "tokens")
	out := map[string][]float32{}
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		images := m.EncodeImage(pixels.Tensor(s)).Normalize(1)
		texts := m.EncodeText(tokens.Tensor(s)).Normalize(1)
		logits := images.MatMul(texts.Transpose(0, 1)).Mul(s.Alias(m.LogitScale).Exp())
		if m.LogitBias != nil {
			logits = logits.Add(s.Alias(m.LogitBias))
		}
		for name, x := range map[string]*torch.Tensor{"image": images, "text": texts, "logits": logits} {
			out[name] = torch.ToSlice[float32](x)
		}
	}))
	return out
}

// difference is the largest one. One that is not a number counts as infinite.
func difference(t *testing.T, want, got []float32) float64 {
	t.Helper()
	require.Len(t, got, len(want))
	largest := 0.0
	for i, w := range want {
		d := math.Abs(float64(w) - float64(got[i]))
		if math.IsNaN(d) {
			return math.MaxFloat64
		}
		largest = math.Max(largest, d)
	}
	return largest
}

// cut is the model with the first ceil(share * n) of each n blocks, over the same weights.
func cut(t *testing.T, m *Model, share float64) *Model {
	t.Helper()
	c := &Model{LogitScale: m.LogitScale, LogitBias: m.LogitBias, Config: m.Config, Preprocess: m.Preprocess, Name: m.Name}
	c.Visual, c.Text = short(t, m.Visual, share), short(t, m.Text, share)
	return c
}

// short is a tower with part of its blocks. They are in the fields that cuts.py names in Python's models.
func short(t *testing.T, whole Tower, share float64) Tower {
	t.Helper()
	lists := 0
	var cut func(v reflect.Value) reflect.Value // a pointer to a copy of a struct
	cut = func(v reflect.Value) reflect.Value {
		out := reflect.New(v.Elem().Type())
		out.Elem().Set(v.Elem())
		for _, name := range []string{"Blocks", "Layers", "Layer1", "Layer2", "Layer3", "Layer4"} {
			if f := out.Elem().FieldByName(name); f.IsValid() {
				f.Set(f.Slice(0, int(math.Ceil(share*float64(f.Len())))))
				lists++
			}
		}
		if f := out.Elem().FieldByName("Transformer"); f.IsValid() {
			f.Set(cut(f))
		}
		if f := out.Elem().FieldByName("Stages"); f.IsValid() {
			stages := reflect.MakeSlice(f.Type(), f.Len(), f.Len())
			for i := range f.Len() {
				stages.Index(i).Set(cut(f.Index(i)))
			}
			f.Set(stages)
		}
		return out
	}
	tower := cut(reflect.ValueOf(whole)).Interface().(Tower)
	require.Positive(t, lists, "a tower of an unknown kind: %T", whole)
	return tower
}

// residentSize is a line of /proc/self/status in MB.
func residentSize(t *testing.T, field string) float64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB$`).FindSubmatch(status)
	require.NotNil(t, found, field)
	kilobytes, err := strconv.ParseFloat(string(found[1]), 64)
	require.NoError(t, err)
	return kilobytes * 1024 / 1e6
}
