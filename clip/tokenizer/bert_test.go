package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStripSep holds open_clip's strip_sep_token: 0 for each separator of a row, also for one that stands in the text, and
// only in rows.
func TestStripSep(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(o Options) Encoder
		text string
	}{
		{"BERT", func(o Options) Encoder { return bert(t, "", o) }, "a dog [SEP] the cat"},
		{"RoBERTa", func(o Options) Encoder { return opened(t, "roberta/tokenizer.json.gz", o) }, "a dog </s> the cat"},
		{"XLM-R", func(o Options) Encoder { return opened(t, "xlmr/sentencepiece.bpe.model.gz", o) }, "a dog </s> the cat"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain, strip := c.open(Options{}), c.open(Options{StripSep: true})
			for _, length := range []int{3, 32} {
				want, wantCut := plain.Tokenize(c.text, length)
				require.Contains(t, want, plain.End())
				for i, id := range want {
					if id == plain.End() {
						want[i] = 0
					}
				}
				got, cut := strip.Tokenize(c.text, length)
				assert.Equal(t, want, got)
				assert.Equal(t, wantCut, cut)
			}
			assert.Equal(t, plain.Encode(c.text), strip.Encode(c.text))
		})
	}
	for file, name := range map[string]string{"siglip/spiece.model.gz": "spiece.model", "gemma/tokenizer.json.gz": "tokenizer.json"} {
		dir := t.TempDir()
		e := opened(t, file, Options{})
		_, err := stripSep(filepath.Join(dir, name), e)
		assert.ErrorContains(t, err, name+" has no separator that strip_sep_token could strip")
	}
}

// TestBERTFiles: tokenizer_config.json's switches go before tokenizer.json's, and its tokens are those of vocab.txt.
func TestBERTFiles(t *testing.T) {
	vocab := strings.Join([]string{"<p>", "<u>", "<c>", "<s>", "cafe", "café", "Café", "##s", "東", "京", "東京", "a"}, "\r\n")
	const tokens = `"pad_token":"<p>","unk_token":{"content":"<u>"},"cls_token":"<c>","sep_token":"<s>"`
	for _, c := range []struct {
		name, switches, text string
		want                 []int
	}{
		{"published", "", "Cafés 東京 <s>", []int{4, 7, 8, 9, 3}},
		{"cased", `,"do_lower_case":false`, "Cafés Café cafe東京", []int{6, 7, 6, 4, 8, 9}},
		{"accents", `,"strip_accents":false`, "CAFÉ", []int{5}},
		{"cased without accents", `,"do_lower_case":false,"strip_accents":true`, "café", []int{4}},
		{"Chinese", `,"tokenize_chinese_chars":false`, "東京 a東", []int{10, 1}},
		{"a long word", "", strings.Repeat("a", 101) + " a", []int{1, 11}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
			}
			write("vocab.txt", vocab)
			write("tokenizer_config.json", "{"+tokens+c.switches+"}")
			e, err := Open(dir, Options{})
			require.NoError(t, err)
			assert.Equal(t, c.want, e.Encode(c.text))
			row, _ := e.Tokenize("a", 4)
			assert.Equal(t, []int64{2, 11, 3, 0}, row)
			if c.switches == "" {
				return
			}
			write("tokenizer.json", `{"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},
				"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":{"type":"BertProcessing","sep":["<s>",3],"cls":["<c>",2]},
				"model":{"type":"WordPiece","unk_token":"<u>","vocab":{"<p>":0,"<u>":1,"<c>":2,"<s>":3,"cafe":4,"café":5,"Café":6,"##s":7,"東":8,"京":9,"東京":10,"a":11}}}`)
			e, err = Open(dir, Options{})
			require.NoError(t, err)
			assert.Equal(t, c.want, e.Encode(c.text))
		})
	}
}

// TestDecodeWordPiece: a piece inside a word joins the one before it.
func TestDecodeWordPiece(t *testing.T) {
	e := bert(t, "", Options{})
	row, _ := e.Tokenize("Racing cars, photographs!", 32)
	ids := make([]int, len(row))
	for i, id := range row {
		ids[i] = int(id)
	}
	assert.Equal(t, "racing cars , photographs !", e.Decode(ids))
}
