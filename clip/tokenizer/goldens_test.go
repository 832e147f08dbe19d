package tokenizer

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testdata = "../../testdata/tokenizer/"

// golden is one line of a file that make_goldens.py wrote: its ids, and others beside them or null.
type golden struct {
	text        string
	ids, beside []int
}

// readGoldens reads a family's file from testdata/tokenizer/goldens or, for more lines, from $GOCLIP_GOLDENS.
func readGoldens(t testing.TB, family string) (lines []golden) {
	dir := testdata + "goldens"
	if other := os.Getenv("GOCLIP_GOLDENS"); other != "" {
		dir = other
	}
	d := json.NewDecoder(unpack(t, filepath.Join(dir, family+".jsonl.gz")))
	for d.More() {
		var g golden
		require.NoError(t, d.Decode(&[]any{&g.text, &g.ids, &g.beside}))
		lines = append(lines, g)
	}
	return lines
}

func goldens(t testing.TB, family string) (texts []string, ids [][]int) {
	for _, g := range readGoldens(t, family) {
		texts, ids = append(texts, g.text), append(ids, g.ids)
	}
	return texts, ids
}

func unpack(t testing.TB, path string) io.Reader {
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	return z
}

// opened unpacks a vocabulary into a directory of its own under the name that it has in a model's, and opens it.
func opened(t testing.TB, packed string, o Options) Encoder {
	dir := t.TempDir()
	data, err := io.ReadAll(unpack(t, testdata+packed))
	require.NoError(t, err)
	name := strings.TrimSuffix(filepath.Base(packed), ".gz")
	switch name {
	case "bytes.model":
		name = "spiece.model"
	case "other.json":
		name = "tokenizer.json"
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	e, err := Open(dir, o)
	require.NoError(t, err)
	return e
}

// bert opens vocab.txt with what tokenizer_config.json says, or without one.
func bert(t testing.TB, config string, o Options) Encoder {
	dir := t.TempDir()
	data, err := os.ReadFile(testdata + "bert/vocab.txt")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vocab.txt"), data, 0o600))
	if config != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(config), 0o600))
	}
	e, err := Open(dir, o)
	require.NoError(t, err)
	return e
}

func roberta(t testing.TB) Encoder {
	e, err := Open(testdata+"roberta", Options{})
	require.NoError(t, err)
	return e
}

// compare counts the lines to which e gives other ids and shows the first ones.
func compare(t *testing.T, e Encoder, lines []golden, want func(golden) []int) {
	t.Helper()
	wrong := 0
	for _, g := range lines {
		if got := e.Encode(g.text); !slices.Equal(got, want(g)) {
			if wrong++; wrong <= 20 {
				t.Errorf("%.300q: got %v %.300q, want %v %.300q", g.text, got[:min(len(got), 40)], e.Decode(got), want(g)[:min(len(want(g)), 40)], e.Decode(want(g)))
			}
		}
	}
	t.Logf("%d of %d lines differ", wrong, len(lines))
	assert.Zero(t, wrong, "of %d lines", len(lines))
}

// TestGoldens holds every id against OpenAI's algorithm.
func TestGoldens(t *testing.T) {
	lines := readGoldens(t, "openai")
	require.GreaterOrEqual(t, len(lines), 10000)
	compare(t, New(), lines, func(g golden) []int { return g.ids })
}

// TestGoldensOpenCLIP holds every id against the same algorithm with open_clip's special tokens.
func TestGoldensOpenCLIP(t *testing.T) {
	e, err := NewCLIP(OpenCLIP, Lower)
	require.NoError(t, err)
	spelled := 0
	compare(t, e, readGoldens(t, "openai"), func(g golden) []int {
		if g.beside == nil {
			return g.ids
		}
		spelled++
		return g.beside
	})
	assert.Positive(t, spelled)
}

// TestGoldensFiles holds what files describe against transformers' and sentencepiece's ids, and the framed rows.
func TestGoldensFiles(t *testing.T) {
	siglip := Options{Clean: Canonicalize, Pad: "</s>"}
	for _, c := range []struct {
		name, family   string
		e              Encoder
		size, pad, end int
	}{
		{"RoBERTa", "roberta", roberta(t), 2000, 1, 2},
		{"RoBERTa, tokenizer.json", "roberta", opened(t, "roberta/tokenizer.json.gz", Options{}), 2000, 1, 2},
		{"XLM-R, sentencepiece", "xlmr", opened(t, "xlmr/sentencepiece.bpe.model.gz", Options{}), 1202, 1, 2},
		{"XLM-R, tokenizer.json", "xlmr", opened(t, "xlmr/tokenizer.json.gz", Options{}), 1202, 1, 2},
		{"NLLB", "nllb", opened(t, "nllb/tokenizer.json.gz", Options{}), 1404, 1, 2},
		{"mT5", "mt5", opened(t, "siglip/spiece.model.gz", Options{}), 1200, 0, 1},
		{"SigLIP", "siglip", opened(t, "siglip/spiece.model.gz", siglip), 1200, 1, 1},
		{"bytes", "bytes", opened(t, "siglip/bytes.model.gz", Options{Clean: Canonicalize}), 900, 0, 1},
		{"BERT", "bert", bert(t, "", Options{StripSep: true}), 1863, 0, 4},
		{"BERT, tokenizer.json", "bert", opened(t, "bert/tokenizer.json.gz", Options{StripSep: true}), 1863, 0, 4},
		{"BERT, cased", "cased", bert(t, `{"do_lower_case":false,"tokenize_chinese_chars":false}`, Options{}), 1863, 0, 4},
		{"BERT, accents", "accents", bert(t, `{"strip_accents":false}`, Options{}), 1863, 0, 4},
		{"Gemma", "gemma", opened(t, "gemma/tokenizer.json.gz", Options{Clean: Canonicalize}), 2400, 0, 1},
		{"SigLIP 2 of transformers", "siglip2", opened(t, "gemma/tokenizer.json.gz", Options{Clean: Lowercase}), 2400, 0, 1},
		{"Gemma, other steps", "other", opened(t, "gemma/other.json.gz", Options{}), 1092, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines := readGoldens(t, c.family)
			require.GreaterOrEqual(t, len(lines), 500)
			compare(t, c.e, lines, func(g golden) []int { return g.ids })
			assert.Equal(t, []int{c.size, c.pad, c.end}, []int{c.e.VocabSize(), int(c.e.Pad()), int(c.e.End())})
			for _, g := range lines {
				if g.beside == nil {
					continue
				}
				row, cut := c.e.Tokenize(g.text, len(g.beside))
				for i, id := range g.beside {
					require.Equal(t, int64(id), row[i], g.text)
				}
				frame := 2
				if c.family == "siglip" || c.family == "mt5" || c.family == "gemma" || c.family == "siglip2" || c.family == "other" {
					frame = 1
				}
				require.Equal(t, len(g.ids)+frame > len(g.beside), cut)
			}
		})
	}
}
