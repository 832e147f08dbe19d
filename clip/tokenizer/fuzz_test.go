package tokenizer

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
)

// memory is what a small vocabulary, with the table of its trie, and a few texts may take of the heap, garbage included.
const memory = 64 << 20

// FuzzTokenize: every tokenizer gives rows of the length asked for, of ids within its vocabulary, and twice the same.
func FuzzTokenize(of *testing.F) {
	f := campaign.Inputs(of, memory)
	for _, text := range []string{"a photo of a cat", "Ã©tÃ© &amp;lt; <|endoftext|>", "\xff\xfe", "ﬁ １２ ＡＢＣ", "'s'T’ll \u0085\u2028",
		"<s> a <mask> </s>", "[CLS] a [SEP][sep] 東京 [CL\u200bS] é", "▁▁ <bos> \n\n <MASK> don't the ", "▁ ▁a <0x41>", "👩🏽\u200d🚀 racing car", "\u0345\u1100\u1161\u00ad"} {
		f.Add(text, 77)
	}
	open, err := NewCLIP(OpenCLIP, Whitespace)
	require.NoError(f, err)
	all := []Encoder{New(), open, roberta(f), opened(f, "xlmr/tokenizer.json.gz", Options{}),
		opened(f, "siglip/spiece.model.gz", Options{Clean: Canonicalize}), opened(f, "siglip/bytes.model.gz", Options{}),
		bert(f, "", Options{StripSep: true}), bert(f, `{"do_lower_case":false}`, Options{}),
		opened(f, "gemma/tokenizer.json.gz", Options{Clean: Canonicalize}), opened(f, "gemma/other.json.gz", Options{})}
	f.Fuzz(func(t *testing.T, text string, length int) {
		length %= 100
		for _, e := range all {
			ids, cut := e.Tokenize(text, length)
			require.Len(t, ids, max(length, 0))
			for _, id := range ids {
				require.True(t, id >= 0 && id < int64(e.VocabSize()))
			}
			body := e.Encode(text)
			around := 2
			if u, ok := e.(*Unigram); ok && u.frame.start < 0 {
				around = 1
			} else if _, ok := e.(*Gemma); ok {
				around = 1
			}
			require.Equal(t, len(body)+around > length, cut)
			again, _ := e.Tokenize(text, length)
			require.Equal(t, ids, again)
			e.Decode(body)
		}
	})
}

// FuzzVocabulary: whatever vocab.json and merges.txt hold is a sentence or a tokenizer whose ids are in range.
func FuzzVocabulary(of *testing.F) {
	f := campaign.Inputs(of, memory)
	dir := f.MemoryDir()
	vocab, err := os.ReadFile(testdata + "roberta/vocab.json")
	require.NoError(f, err)
	merges, err := os.ReadFile(testdata + "roberta/merges.txt")
	require.NoError(f, err)
	f.Add(vocab, merges)
	f.Add([]byte(`{"a":0,"a":1}`), []byte("#version\na b\n"))
	f.Add([]byte(`{"a":99999999999}`), []byte("a b c"))
	f.Add([]byte(`{"<s>":0,"<pad>":1,"</s>":2,"<unk>":3,"Ġ":-1}`), []byte(" "))
	f.Fuzz(func(t *testing.T, vocab, merges []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "vocab.json"), vocab, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "merges.txt"), merges, 0o600))
		tryOpen(t, dir)
	})
}

// FuzzTokenizerJSON is FuzzVocabulary of tokenizer.json.
func FuzzTokenizerJSON(of *testing.F) {
	f := campaign.Inputs(of, memory)
	dir := f.MemoryDir()
	for _, name := range []string{"xlmr/tokenizer.json.gz", "bert/tokenizer.json.gz", "gemma/other.json.gz"} {
		whole, err := io.ReadAll(unpack(f, testdata+name))
		require.NoError(f, err)
		f.Add(whole)
	}
	for _, text := range []string{
		`{"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1e999]]}}`,
		`{"added_tokens":[{"id":1,"content":"</s>"},{"id":2,"content":"<pad>"}],"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0]]},
		  "post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}},{"SpecialToken":{"id":"</s>"}}]}}`,
		`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b",["a","b"],7]}}`,
		`{"added_tokens":[{"id":-1,"content":"x"}],"model":{"type":"WordPiece"}}`,
		`{"normalizer":{"type":"BertNormalizer","lowercase":true,"strip_accents":null},"pre_tokenizer":{"type":"BertPreTokenizer"},
		  "post_processor":{"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]},
		  "model":{"type":"WordPiece","continuing_subword_prefix":"","max_input_chars_per_word":1,"vocab":{"[PAD]":0,"[CLS]":1,"[SEP]":2,"[UNK]":3,"a":4,"":5}}}`,
		`{"added_tokens":[{"id":1,"content":" ","normalized":true,"lstrip":true}],"normalizer":{"type":"Replace","pattern":{"String":"a"},"content":""},
		  "post_processor":{"single":[{"Sequence":{}},{"SpecialToken":{"id":"<pad>"}}]},
		  "model":{"type":"BPE","byte_fallback":true,"vocab":{"<pad>":0," ":1,"b":2,"bb":3,"<0xC3>":4},"merges":["b b"]}}`,
		`{"normalizer":{"type":"Precompiled","precompiled_charsmap":"////////"},"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0]]}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), data, 0o600))
		tryOpen(t, dir)
	})
}

// FuzzVocabTxt is FuzzVocabulary of vocab.txt and tokenizer_config.json.
func FuzzVocabTxt(of *testing.F) {
	f := campaign.Inputs(of, memory)
	dir := f.MemoryDir()
	vocab, err := os.ReadFile(testdata + "bert/vocab.txt")
	require.NoError(f, err)
	f.Add(vocab, []byte(`{"do_lower_case":false,"strip_accents":true}`))
	f.Add([]byte("[PAD]\r[UNK]\r\n[CLS]\n[SEP]\n\na\na\n##\n##\xff"), []byte("{}"))
	f.Add([]byte("<0>\na\n##b\n"), []byte(`{"cls_token":"<0>","sep_token":{"content":"<0>"},"pad_token":"a","unk_token":"##b","mask_token":null}`))
	f.Fuzz(func(t *testing.T, vocab, config []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "vocab.txt"), vocab, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), config, 0o600))
		tryOpen(t, dir)
	})
}

// FuzzSentencePiece is FuzzVocabulary of sentencepiece's models, as T5's and as XLM-R's.
func FuzzSentencePiece(of *testing.F) {
	f := campaign.Inputs(of, memory)
	dirs := map[string]string{"spiece.model": f.MemoryDir(), "sentencepiece.bpe.model": f.MemoryDir()}
	for _, name := range []string{"siglip/bytes.model.gz", "xlmr/sentencepiece.bpe.model.gz"} {
		model, err := io.ReadAll(unpack(f, testdata+name))
		require.NoError(f, err)
		f.Add(model)
		f.Add(model[:len(model)/2])
		f.Add(model[len(model)/2:])
	}
	f.Add([]byte("\x0a\xff\xff\xff\xff\x07abc")) // a piece of 2 GB
	f.Add([]byte("\x0a\x0b\x0a\x05<unk>\x18\x02\x0a\x0a\x0a\x04</s>\x18\x03\x0a\x0b\x0a\x05<pad>\x18\x03\x0a\x08\x0a\x01a\x15\x00\x00\x80\xbf"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, dir := range dirs {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
			tryOpen(t, dir)
		}
	})
}

// tryOpen opens what a fuzz target wrote.
func tryOpen(t *testing.T, dir string) {
	e, err := Open(dir, Options{})
	if err != nil {
		require.NotContains(t, err.Error(), "\n")
		return
	}
	for _, text := range []string{"a photo of a <mask> cat", "\u0345Å½ 👩🏽\u200d🚀 東京 [SEP]", strings.Repeat("ab", 50)} {
		ids, _ := e.Tokenize(text, 40)
		for _, id := range ids {
			require.True(t, id >= 0 && id < int64(e.VocabSize()), "%d of %d", id, e.VocabSize())
		}
		require.Len(t, ids, 40)
		e.Decode(e.Encode(text))
	}
}

// TestWrongFiles: each gives one sentence that names the file and says what is wrong.
func TestWrongFiles(t *testing.T) {
	good, err := os.ReadFile(testdata + "roberta/vocab.json")
	require.NoError(t, err)
	var whole map[string]int
	require.NoError(t, json.Unmarshal(good, &whole))
	without := func(piece string) string {
		id := whole[piece]
		less := map[string]int{}
		for p, i := range whole {
			if i > id {
				i--
			}
			less[p] = i
		}
		delete(less, piece)
		data, err := json.Marshal(less)
		require.NoError(t, err)
		return string(data)
	}
	unigram := func(rest string) string {
		return `{"added_tokens":[{"id":0,"content":"<unk>"},{"id":1,"content":"</s>"},{"id":2,"content":"<pad>"}],
			"post_processor":{"single":[{"Sequence":{}},{"SpecialToken":{"id":"</s>"}}]},` + rest + `}`
	}
	wordPiece := func(vocab, normalizer, pre string) string {
		return `{"normalizer":` + normalizer + `,"pre_tokenizer":{"type":"` + pre + `"},"post_processor":{"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]},
			"model":{"type":"WordPiece","vocab":` + vocab + `}}`
	}
	letters := func(model, rest string) string {
		return `{` + rest + `,"model":{"type":"BPE","byte_fallback":true,"vocab":{"<eos>":0,"a":1},"merges":[]` + model + `}}`
	}
	const eos = `"post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}},{"SpecialToken":{"id":"<eos>"}}]}`
	const vocab = `"vocab":[["<unk>",0],["</s>",0],["<pad>",0],["a",-1]`
	for _, c := range []struct {
		want  string
		files map[string]string
	}{
		{"holds no tokenizer", nil},
		{"merges.txt: no such file", map[string]string{"vocab.json": string(good)}},
		{`merges.txt: line 2: "a b c" is not a merge`, map[string]string{"vocab.json": string(good), "merges.txt": "#version: 0.2\na b c\n"}},
		{`merge 1 joins "zz" and "zz"`, map[string]string{"vocab.json": string(good), "merges.txt": "zz zz\n"}},
		{"stands there twice", map[string]string{"vocab.json": string(good), "merges.txt": "ð Ł\nð Ł\n"}},
		{`vocab.json: "a" stands there twice`, map[string]string{"vocab.json": `{"a":0,"a":1}`, "merges.txt": ""}},
		{"another piece's too, or leaves a gap", map[string]string{"vocab.json": `{"a":0,"b":0}`, "merges.txt": ""}},
		{`the id of "a" is "1000000000000"`, map[string]string{"vocab.json": `{"a":1000000000000}`, "merges.txt": ""}},
		{`the id of "a" is "x\ny"`, map[string]string{"vocab.json": `{"a":"x\ny"}`, "merges.txt": ""}},
		{"not a JSON object", map[string]string{"vocab.json": `[]`, "merges.txt": ""}},
		{`lacks "Ġ", which stands for the byte 0x20`, map[string]string{"vocab.json": without("Ġ"), "merges.txt": ""}},
		{`lacks the special token "</s>"`, map[string]string{"vocab.json": without("</s>"), "merges.txt": ""}},
		{"unexpected EOF", map[string]string{"vocab.json": string(good[:5000]), "merges.txt": ""}},
		{`"WordLevel" is not supported`, map[string]string{"tokenizer.json": `{"model":{"type":"WordLevel"}}`}},
		{"tokenizer.json: unexpected end", map[string]string{"tokenizer.json": `{"model":`}},
		{"tokenizer_config.json: the token \"7\" is neither", map[string]string{"tokenizer_config.json": `{"pad_token":7}`}},
		{"unk_id names none of the 4 pieces", map[string]string{"tokenizer.json": unigram(`"model":{"type":"Unigram","unk_id":9,` + vocab + `]}`)}},
		{`piece 4, "a", stands there twice`, map[string]string{"tokenizer.json": unigram(`"model":{"type":"Unigram","unk_id":0,` + vocab + `,["a",-2]]}`)}},
		{"a list has more than 4096 values", map[string]string{"tokenizer.json": `{"added_tokens":[{}` + strings.Repeat(",{}", 5000) + `]}`}},
		{"merge 1 joins", map[string]string{"tokenizer.json": `{"model":{"type":"BPE","vocab":` + string(good) + `,"merges":["zz zz"]}}`}},
		{"model.merges: value 1: it is not a pair", map[string]string{"tokenizer.json": `{"model":{"type":"BPE","vocab":` + string(good) + `,"merges":[7]}}`}},
		{"value 5: it is not a pair", map[string]string{"tokenizer.json": unigram(`"model":{"type":"Unigram","unk_id":0,` + vocab + `,["b",1e999]]}`)}},
		{"0 of the 256 are pieces", map[string]string{"tokenizer.json": unigram(`"model":{"type":"Unigram","byte_fallback":true,"unk_id":0,` + vocab + `]}`)}},
		{"precompiled_charsmap says that its trie has 4294967292 bytes", map[string]string{"tokenizer.json": unigram(`"normalizer":{"type":"Precompiled","precompiled_charsmap":"/P///wAAAAA="},"model":{"type":"Unigram","unk_id":0,` + vocab + `]}`)}},
		{"add_prefix_space is not supported", map[string]string{"tokenizer.json": `{"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},"model":{"type":"BPE"}}`}},
		{`the normalizer "Replace" is not`, map[string]string{"tokenizer.json": unigram(`"normalizer":{"type":"Replace","pattern":{"String":"-"}},"model":{"type":"Unigram","unk_id":0,` + vocab + `]}`)}},
		{`the normalizer "Lowercase" is not supported`, map[string]string{"tokenizer.json": unigram(`"normalizer":{"type":"Lowercase"},"model":{"type":"Unigram","unk_id":0,` + vocab + `]}`)}},
		{"spiece.model: it is not a sentencepiece model, or is cut off", map[string]string{"spiece.model": "\x0a\xff\xff\xff\xff\x07abc"}},
		{`spiece.model: its control pieces lack </s> or "<pad>"`, map[string]string{"spiece.model": ""}},
		{`its control pieces lack </s> or "a\nb"`, map[string]string{"spiece.model": "", "tokenizer_config.json": `{"pad_token":"a\nb"}`}},
		{"sentencepiece.bpe.model: its first pieces are not", map[string]string{"sentencepiece.bpe.model": ""}},
		{"other than BertPreTokenizer", map[string]string{"tokenizer.json": wordPiece(`{}`, "null", "")}},
		{`the normalizer "NFC" is not supported beside a WordPiece model`, map[string]string{"tokenizer.json": wordPiece(`{}`, `{"type":"NFC"}`, "BertPreTokenizer")}},
		{`lacks the special token "[UNK]"`, map[string]string{"tokenizer.json": wordPiece(`{"a":0}`, "null", "BertPreTokenizer")}},
		{`lacks the special token "[SEP]"`, map[string]string{"vocab.txt": "[UNK]\n[CLS]\n[PAD]\n"}},
		{`lacks the special token "<pad>"`, map[string]string{"vocab.txt": "[UNK]\n[CLS]\n[PAD]\n[SEP]\n", "tokenizer_config.json": `{"pad_token":"<pad>"}`}},
		{`vocab.txt: the piece 4, "\xff", is not UTF-8`, map[string]string{"vocab.txt": "[UNK]\n[CLS]\n[PAD]\n[SEP]\n\xff"}},
		{"the piece 0 has 1025 bytes", map[string]string{"vocab.txt": strings.Repeat("a", 1025)}},
		{"vocab.txt has more than 1048576 pieces", map[string]string{"vocab.txt": strings.Repeat("\n", maxPieces+1)}},
		{"tokenizer_config.json: do_basic_tokenize is false", map[string]string{"vocab.txt": "a", "tokenizer_config.json": `{"do_basic_tokenize":false}`}},
		{"max_input_chars_per_word is 0", map[string]string{"tokenizer.json": wordPiece(`{},"max_input_chars_per_word":0`, "null", "BertPreTokenizer")}},
		{`the normalizer "NFC" is not supported beside byte_fallback`, map[string]string{"tokenizer.json": letters("", `"normalizer":{"type":"NFC"}`)}},
		{`the normalizer Replace of "a" by "bbbb" is not supported`, map[string]string{"tokenizer.json": letters("", `"normalizer":{"type":"Replace","pattern":{"String":"a"},"content":"bbbb"}`)}},
		{`the pre-tokenizer "Split" is not supported`, map[string]string{"tokenizer.json": letters("", `"pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"Isolated"}`)}},
		{"ends a text with no token", map[string]string{"tokenizer.json": letters("", `"post_processor":null`)}},
		{`lacks the special token "<pad>"`, map[string]string{"tokenizer.json": letters("", eos)}},
		{`the vocabulary lacks unk_token, "<unk>"`, map[string]string{"tokenizer.json": letters(`,"unk_token":"<unk>"`, eos+`,"padding":{"pad_token":"a"}`)}},
		{"dropout makes ids a matter of chance", map[string]string{"tokenizer.json": letters(`,"dropout":0.1`, eos)}},
		{"continuing_subword_prefix and", map[string]string{"tokenizer.json": letters(`,"end_of_word_suffix":"</w>"`, eos)}},
		{"ignore_merges is not supported", map[string]string{"tokenizer.json": `{"model":{"type":"BPE","ignore_merges":true}}`}},
		{"it is not a Unigram model (model_type 2, not 1)", map[string]string{"spiece.model": "\x12\x02\x18\x02"}},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		_, err := Open(dir, Options{})
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n")
		require.Contains(t, err.Error(), dir)
	}
}

// TestHugeFile: a file that claims a gigabyte (a sparse one) is refused after 64 MiB.
func TestHugeFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "spiece.model")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 1<<30))
	_, err := Open(dir, Options{})
	require.EqualError(t, err, path+" is larger than 64 MiB, which no vocabulary is")
}
