package tokenizer

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKnownValue(t *testing.T) { // openai/CLIP notebooks/Interacting_with_CLIP.ipynb
	ids, cut := New().Tokenize("Hello World!", 77)
	assert.Equal(t, []int64{49406, 3306, 1002, 256, 49407, 0}, ids[:6])
	assert.Len(t, ids, 77)
	assert.False(t, cut)
	assert.Equal(t, 49408, New().VocabSize())
	assert.Equal(t, "hello world ! ", New().Decode([]int{49406, 3306, 1002, 256, 49407}))
}

func TestTruncation(t *testing.T) {
	ids, cut := New().Tokenize("one two three four five six seven", 5)
	assert.True(t, cut)
	assert.Equal(t, int64(SOT), ids[0])
	assert.Equal(t, int64(EOT), ids[4])
}

func TestVocabularyIsOpenAIs(t *testing.T) {
	assert.Equal(t, "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a", fmt.Sprintf("%x", sha256.Sum256(vocabulary)))
}

// goldens reads testdata/tokenizer/goldens.jsonl.gz, or another file that make_goldens.py wrote.
func goldens(t testing.TB) (texts []string, ids [][]int) {
	path := "../../testdata/tokenizer/goldens.jsonl.gz"
	if other := os.Getenv("GOCLIP_GOLDENS"); other != "" {
		path = other
	}
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	d := json.NewDecoder(z)
	for d.More() {
		var text string
		var want []int
		require.NoError(t, d.Decode(&[]any{&text, &want}))
		texts, ids = append(texts, text), append(ids, want)
	}
	return texts, ids
}

// TestGoldens holds every id against OpenAI's algorithm.
func TestGoldens(t *testing.T) {
	texts, ids := goldens(t)
	require.GreaterOrEqual(t, len(texts), 10000)
	wrong := 0
	for i, text := range texts {
		if got := New().Encode(text); !slices.Equal(got, ids[i]) {
			if wrong++; wrong <= 20 {
				t.Errorf("%q: cleaned to %q, got %v, want %v (%q)", text, clean(text), got, ids[i], New().Decode(ids[i]))
			}
		}
	}
	assert.Zero(t, wrong, "of %d lines", len(texts))
}

func TestConcurrentUse(t *testing.T) {
	texts, ids := goldens(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < 400; i++ {
				assert.Equal(t, len(ids[i]), len(New().Encode(texts[i])))
			}
		})
	}
	wg.Wait()
}

func FuzzTokenize(f *testing.F) {
	for _, text := range []string{"a photo of a cat", "Ã©tÃ© &amp;lt; <|endoftext|>", "\xff\xfe", "ﬁ １２ ＡＢＣ", "'s'T’ll \u0085\u2028"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids, _ := New().Tokenize(text, 77)
		require.Len(t, ids, 77)
		require.Equal(t, int64(SOT), ids[0])
		for _, id := range ids {
			require.True(t, id >= 0 && id <= EOT)
		}
		again, _ := New().Tokenize(text, 77)
		require.Equal(t, ids, again)
	})
}

func BenchmarkTokenize(b *testing.B) {
	for b.Loop() {
		New().Tokenize("A photo of a cute dog running on the beach at sunset, 35mm film", 77)
	}
}
