package clip

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// ClassifierCache keeps classifiers on disk, because a thousand names with 80 templates are minutes of work: a file of
// safetensors for each pair of a text tower and prompts. Files may be deleted at any time.
type ClassifierCache struct {
	Dir string               // made when it is first written to; "" keeps nothing
	Log func(message string) // told of a file that is damaged or cannot be written; nil for silence
}

// Classifier is [Model.Classifier] by way of the cache. cached reports whether the text tower had no work.
func (c ClassifierCache) Classifier(ctx context.Context, m *Model, names, templates []string) (z *Classifier, cached bool, err error) {
	if len(templates) == 0 {
		templates = []string{"{}"}
	}
	if err := checkPrompts(names, templates); err != nil {
		return nil, false, err
	}
	if c.Dir == "" {
		z, err = m.Classifier(ctx, names, templates...)
		return z, false, err
	}
	var key string
	var scale float64
	err = m.inTurn(ctx, func() (err error) {
		if key, err = m.promptsKey(ctx, names, templates); err == nil {
			scale, err = m.Scale()
		}
		return err
	})
	if err != nil {
		return nil, false, err
	}
	path := filepath.Join(c.Dir, key+".safetensors")
	weights, err := readClassifier(path, key, len(names), m.Config.EmbedDim)
	if err == nil {
		return &Classifier{Names: slices.Clone(names), Weights: m.rowsOf(weights), Scale: scale}, true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		c.log("%v: the classifier is rebuilt", err)
	}
	if z, err = m.Classifier(ctx, names, templates...); err != nil {
		return nil, false, err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		c.log("the classifier will be made again next time: %v", err)
	} else if err := writeClassifier(path, key, z, m.Config.EmbedDim); err != nil {
		c.log("the classifier will be made again next time: %v", err)
	}
	return z, false, nil
}

func (c ClassifierCache) log(format string, args ...any) {
	if c.Log != nil {
		c.Log(strings.ReplaceAll(fmt.Sprintf(format, args...), "checkpoint: ", ""))
	}
}

// promptsKey is a hash of all that a classifier's rows are made from: the text tower as it is in memory, whatever file
// it is from, the config, the tokenizer, the names and the templates. It runs libtorch.
func (m *Model) promptsKey(ctx context.Context, names, templates []string) (string, error) {
	sum := sha256.New()
	add := func(part string, of ...string) { // with lengths, so that no two lists are one text
		fmt.Fprintf(sum, "%s %d\n", part, len(of))
		for _, s := range of {
			fmt.Fprintf(sum, "%d %s\n", len(s), s)
		}
	}
	if _, err := m.Tokenizer(ctx); err != nil { // a published tag's files are found now
		return "", err
	}
	config, err := json.Marshal(m.Config)
	if err != nil {
		return "", fmt.Errorf("clip: %w", err)
	}
	add("goclip classifier 2", string(config), cmp.Or(m.Config.Text.HFTokenizerName, m.Config.Text.HFModelName))
	for _, name := range slices.Sorted(maps.Keys(m.tokenizerFiles)) {
		add("tokenizer", name, string(m.tokenizerFiles[name]))
	}
	add("spelling", fmt.Sprint(m.spelling, m.Options.PlainText))
	add("names", names...)
	add("templates", templates...)
	err = torch.NoGrad(func(s *torch.Scope) {
		var buffer []byte
		for name, p := range m.State() {
			if strings.HasPrefix(name, "visual.") || p == m.LogitScale || p == m.LogitBias {
				continue
			}
			add("tensor", name, fmt.Sprint(p.Shape()), p.DType().String())
			s.NoGrad(func(s *torch.Scope) {
				buffer = littleEndian(buffer[:0], torch.ToSlice[float32](s.Alias(p).To(torch.CPU, torch.Float32)))
			})
			sum.Write(buffer)
		}
	})
	if err != nil {
		return "", fmt.Errorf("clip: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func littleEndian(dst []byte, values []float32) []byte {
	dst = slices.Grow(dst, 4*len(values))
	for _, x := range values {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(x))
	}
	return dst
}

// The tensor and the metadata of a cached classifier's file.
const (
	cachedWeights = "weights"
	cachedKey     = "key"
	cachedSum     = "sha256" // of the weights' bytes
)

func writeClassifier(path, key string, z *Classifier, width int) error {
	data := littleEndian(nil, slices.Concat(z.Weights...))
	sum := sha256.Sum256(data)
	entry := checkpoint.Entry{Name: cachedWeights, DType: checkpoint.F32, Shape: []int{len(z.Names), width}, Data: data}
	return checkpoint.Write(path, []checkpoint.Entry{entry}, map[string]string{cachedKey: key, cachedSum: hex.EncodeToString(sum[:])})
}

// readClassifier gives the weights in a cached classifier's file. fs.ErrNotExist is inside the error for no file.
func readClassifier(path, key string, names, width int) ([]float32, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := checkpoint.Parse(path, data)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, ok := f.Entry(cachedWeights)
	sum, metadata := sha256.Sum256(e.Data), f.Metadata()
	if !ok || e.DType != checkpoint.F32 || !slices.Equal(e.Shape, []int{names, width}) || metadata[cachedKey] != key || metadata[cachedSum] != hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("%s is damaged", path)
	}
	weights := make([]float32, names*width)
	for i := range weights {
		weights[i] = math.Float32frombits(binary.LittleEndian.Uint32(e.Data[4*i:]))
	}
	return weights, nil
}
