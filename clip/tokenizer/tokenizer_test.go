package tokenizer

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	assert.Equal(t, []int64{0, EOT}, []int64{New().Pad(), New().End()})
}

func TestTruncation(t *testing.T) {
	for _, length := range []int{-1, 0, 1, 2, 5} {
		ids, cut := New().Tokenize("one two three four five six seven", length)
		assert.True(t, cut)
		require.Len(t, ids, max(length, 0))
		if length > 1 {
			assert.Equal(t, int64(SOT), ids[0])
		}
		if length > 0 {
			assert.Equal(t, int64(EOT), ids[length-1])
		}
	}
	ids, cut := New().Tokenize("one two", 4)
	assert.False(t, cut, "it fits exactly")
	assert.Equal(t, int64(EOT), ids[3])
}

// openAIMerges reads OpenAI's file.
func openAIMerges(t *testing.T) (merges [][2]string) {
	data, err := os.ReadFile("bpe_simple_vocab_16e6.txt.gz")
	require.NoError(t, err)
	assert.Equal(t, "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a", fmt.Sprintf("%x", sha256.Sum256(data)))
	z, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	for _, line := range strings.Split(string(text), "\n")[1 : 49152-256-2+1] {
		first, second, _ := strings.Cut(line, " ")
		merges = append(merges, [2]string{first, second})
	}
	return merges
}

// TestVocabularyIsOpenAIs compares the embedded vocabulary with the one that OpenAI's file makes.
func TestVocabularyIsOpenAIs(t *testing.T) {
	merges := openAIMerges(t)
	pieces := slices.Clone(byteLetters().order)
	for _, letter := range byteLetters().order {
		pieces = append(pieces, letter+suffix)
	}
	for _, sides := range merges {
		pieces = append(pieces, sides[0]+sides[1])
	}
	want, err := newBPE(append(pieces, "<|startoftext|>", "<|endoftext|>"), slices.All(merges), suffix)
	require.NoError(t, err)
	have := embedded()
	assert.Equal(t, want.pieces, have.pieces)
	assert.Equal(t, want.merges, have.merges)
	assert.Equal(t, want.inner, have.inner)
	assert.Equal(t, want.last, have.last)
}

// TestClean holds the three ways to clean against open_clip 3.3.0's get_clean_fn.
func TestClean(t *testing.T) {
	const text = " A_b,  C's\t&amp;amp; “Ünï” <|endoftext|> ΟΔΟΣ "
	for clean, want := range map[Clean]string{
		Lower:        `a_b, c's & "ünï" <|endoftext|> οδος`,
		Whitespace:   `A_b, C's & "Ünï" <|endoftext|> ΟΔΟΣ`,
		Canonicalize: `a b cs ünï endoftext οδος`,
	} {
		assert.Equal(t, want, clean.apply(text), string(clean))
	}
	_, err := NewCLIP(OpenAI, "upper")
	assert.ErrorContains(t, err, `"upper" is not a way to clean a text`)
}

// TestSpelling: a special token of the other family is text, and one in capitals is one word where case is kept.
func TestSpelling(t *testing.T) {
	open, err := NewCLIP(OpenCLIP, Lower)
	require.NoError(t, err)
	assert.Equal(t, []int{EOT}, open.Encode("<End_of_Text>"))
	assert.NotContains(t, open.Encode("<|endoftext|>"), EOT)
	assert.Equal(t, []int{EOT}, New().Encode("<|EndOfText|>"))
	assert.NotContains(t, New().Encode("<end_of_text>"), EOT)
	kept, err := NewCLIP(OpenCLIP, Whitespace)
	require.NoError(t, err)
	assert.NotContains(t, kept.Encode("<END_OF_TEXT>"), EOT)
	assert.Equal(t, []int{EOT}, kept.Encode("<end_of_text>"))
	assert.Len(t, kept.Encode("<END_OF_TEXT>"), len(kept.bpe.encode("<END_OF_TEXT>")), "one match of the pattern")
}

func TestPadWith(t *testing.T) {
	hf, err := New().PadWith(EOT)
	require.NoError(t, err)
	ids, _ := hf.Tokenize("cat", 5)
	assert.Equal(t, []int64{SOT, 2368, EOT, EOT, EOT}, ids)
	ids, _ = New().Tokenize("cat", 5)
	assert.Equal(t, []int64{SOT, 2368, EOT, 0, 0}, ids)
	_, err = New().PadWith(49408)
	assert.ErrorContains(t, err, "the id 49408 cannot fill")
}

// TestHuggingFaceFiles: OpenAI's vocabulary as vocab.json and merges.txt, and as tokenizer.json, gives OpenAI's ids.
func TestHuggingFaceFiles(t *testing.T) {
	vocab := map[string]int{}
	for id, piece := range New().bpe.pieces {
		vocab[piece] = id
	}
	pairs := openAIMerges(t)
	lines := []string{"#version: 0.2"}
	for _, sides := range pairs {
		lines = append(lines, sides[0]+" "+sides[1])
	}
	write := func(dir, name string, v any) {
		data, ok := v.(string)
		if !ok {
			b, err := json.Marshal(v)
			require.NoError(t, err)
			data = string(b)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600))
	}
	files, whole := t.TempDir(), t.TempDir()
	write(files, "vocab.json", vocab)
	write(files, "merges.txt", strings.Join(lines, "\n")+"\n")
	write(files, "tokenizer_config.json", map[string]any{"pad_token": map[string]any{"content": "!"}})
	write(whole, "tokenizer.json", map[string]any{"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": pairs, "end_of_word_suffix": "</w>"}})
	texts, ids := goldens(t, "openai")
	for dir, pad := range map[string]int64{files: 0, whole: EOT} {
		e, err := Open(dir, Options{})
		require.NoError(t, err)
		assert.Equal(t, pad, e.Pad())
		assert.Equal(t, int64(EOT), e.End())
		assert.Equal(t, 49408, e.VocabSize())
		for i, text := range texts[:1000] {
			require.True(t, slices.Equal(ids[i], e.Encode(text)), text)
		}
	}
}

// TestMerge holds the queue against the plain way: look for the lowest rank, merge it everywhere, look again.
func TestMerge(t *testing.T) {
	pieces := byteLetters().order
	rank := func(merges ...string) *bpe {
		var sides [][2]string
		all := append([]string{}, pieces...)
		for _, m := range merges {
			a, b, _ := strings.Cut(m, " ")
			sides = append(sides, [2]string{a, b})
			all = append(all, a+b)
		}
		b, err := newBPE(all, slices.All(sides), "")
		require.NoError(t, err)
		return b
	}
	for _, c := range []struct{ merges, word, want string }{
		{"a a", "aaaaa", "aa aa a"},
		{"a a,aa aa", "aaaaaaa", "aaaa aa a"},
		{"abc a,b c,a bc", "abcabc", "abc abc"}, // all of a bc merge before abc a, though that comes first
		{"a b,b c", "abcbc", "ab c bc"},
		{"b c,a b", "abcab", "a bc ab"},
	} {
		b := rank(strings.Split(c.merges, ",")...)
		var got []string
		for _, id := range b.encode(c.word) {
			got = append(got, b.pieces[id])
		}
		assert.Equal(t, c.want, strings.Join(got, " "), c.merges)
	}
}

func TestConcurrentUse(t *testing.T) {
	texts, ids := goldens(t, "openai")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < 400; i++ {
				assert.True(t, slices.Equal(ids[i], New().Encode(texts[i])), texts[i])
			}
		})
	}
	wg.Wait()
}

func BenchmarkTokenize(b *testing.B) {
	for b.Loop() {
		New().Tokenize("A photo of a cute dog running on the beach at sunset, 35mm film", 77)
	}
}

// BenchmarkLongWord is one word of 10,000 letters, which no cache holds.
func BenchmarkLongWord(b *testing.B) {
	for _, word := range []string{strings.Repeat("a", 10000), strings.Repeat("photograph", 1000)} {
		b.Run(word[:4], func(b *testing.B) {
			for b.Loop() {
				New().bpe.merge(word)
			}
		})
	}
}
