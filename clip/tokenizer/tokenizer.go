// Package tokenizer turns texts to the ids of CLIP's text towers: OpenAI's and open_clip's byte-pair encoding with its
// embedded vocabulary (openai/CLIP clip/simple_tokenizer.py), and from files RoBERTa's, SigLIP's, XLM-R's, BERT's (CLIPA)
// and Gemma's (SigLIP 2).
//
// Every tokenizer is safe for concurrent use. Nothing here touches libtorch.
package tokenizer

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// The ids that begin and end a text in OpenAI's vocabulary.
const (
	SOT = 49406
	EOT = 49407
)

// Spelling is how the tokens that begin and end a text are written, which are matched inside texts too.
type Spelling int

const (
	OpenAI   Spelling = iota // <|startoftext|> and <|endoftext|>, as Hugging Face
	OpenCLIP                 // <start_of_text> and <end_of_text>; the ids are the same
)

func (s Spelling) tokens() (start, end string) {
	if s == OpenCLIP {
		return "<start_of_text>", "<end_of_text>"
	}
	return "<|startoftext|>", "<|endoftext|>"
}

// joined holds the merges of OpenAI's vocabulary in their order, each as the ids of its two sides of two bytes each:
// bpe_simple_vocab_16e6.txt.gz, whose licence is in NOTICE, by testdata/tokenizer/make_merges.py.
//
//go:embed merges.bin
var joined []byte

// suffix ends a word's last piece.
const suffix = "</w>"

// Tokenizer is CLIP's. It maps texts to ids.
type Tokenizer struct {
	bpe        *bpe
	start, end string
	clean      Clean
	frame      frame
}

// New returns the one tokenizer with OpenAI's vocabulary of 49,408; it is built at the first call.
func New() *Tokenizer { return openAI() }

var openAI = sync.OnceValue(func() *Tokenizer {
	t, err := NewCLIP(OpenAI, Lower)
	if err != nil {
		panic(err) // the vocabulary is embedded, and its checksum is tested
	}
	return t
})

// NewCLIP is New with another spelling of the special tokens or another way to clean. All share one vocabulary.
func NewCLIP(s Spelling, c Clean) (*Tokenizer, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	start, end := s.tokens()
	return &Tokenizer{embedded(), start, end, c, frame{SOT, EOT, 0}}, nil
}

// embedded is made without looking pieces up, for every program that reads texts waits for it: merge i makes the piece 512 + i.
var embedded = sync.OnceValue(func() *bpe {
	letters := byteLetters()
	b := &bpe{pieces: slices.Clone(letters.order), merges: make(mergeTable, len(joined)/4), words: map[string][]int{}}
	for id, letter := range letters.order {
		b.pieces = append(b.pieces, letter+suffix)
		c := letters.bytes[[]rune(letter)[0]]
		b.inner[c], b.last[c] = int32(id), int32(256+id)
	}
	var text strings.Builder // one string for all pieces
	for rank := range len(joined) / 4 {
		first, second := sides(rank)
		from := text.Len()
		text.WriteString(b.pieces[first])
		text.WriteString(b.pieces[second])
		b.merges[pair(first, second)] = merged{int32(rank), int32(len(b.pieces))}
		b.pieces = append(b.pieces, text.String()[from:])
	}
	start, end := OpenAI.tokens()
	b.pieces = append(b.pieces, start, end)
	return b
})

// sides are the ids that a merge of OpenAI's vocabulary joins.
func sides(rank int) (first, second int32) {
	return int32(binary.LittleEndian.Uint16(joined[4*rank:])), int32(binary.LittleEndian.Uint16(joined[4*rank+2:]))
}

// fromFiles is CLIP's tokenizer with the vocabulary of Hugging Face's files.
func fromFiles(v *vocabularyFiles, o Options) (*Tokenizer, error) {
	t := &Tokenizer{clean: Lower}
	t.start, t.end = OpenAI.tokens()
	var err error
	if t.clean, err = o.clean(Lower); err != nil {
		return nil, err
	}
	if t.bpe, err = newBPE(v.pieces, slices.All(v.merges), suffix); err != nil {
		return nil, err
	}
	t.frame, err = v.frame(t.start, t.end, o.pad(v.pad, t.end))
	return t, err
}

// PadWith returns the tokenizer with another id that fills: OpenAI and open_clip fill with 0, Hugging Face's CLIP with EOT.
func (t *Tokenizer) PadWith(id int64) (*Tokenizer, error) {
	if id < 0 || id >= int64(t.VocabSize()) {
		return nil, fmt.Errorf("the id %d cannot fill: the vocabulary's are 0 to %d", id, t.VocabSize()-1)
	}
	with := *t
	with.frame.pad = id
	return &with, nil
}

// VocabSize is 49,408 with OpenAI's vocabulary.
func (t *Tokenizer) VocabSize() int { return len(t.bpe.pieces) }

// Pad is 0, or what PadWith or the files say.
func (t *Tokenizer) Pad() int64 { return t.frame.pad }

// End is EOT.
func (t *Tokenizer) End() int64 { return t.frame.end }

// Encode cleans a text and splits it into ids, without the start and end tokens.
func (t *Tokenizer) Encode(text string) []int {
	var ids []int
	for word := range t.split(t.clean.apply(text)) {
		switch word {
		case t.start:
			ids = append(ids, int(t.frame.start))
		case t.end:
			ids = append(ids, int(t.frame.end))
		default:
			ids = append(ids, t.bpe.encode(word)...)
		}
	}
	return ids
}

// Tokenize is Encode between the start and end tokens, filled with Pad to contextLength ids. A longer text is cut so
// that the end token is the last id, and truncated is true.
func (t *Tokenizer) Tokenize(text string, contextLength int) (ids []int64, truncated bool) {
	return t.frame.row(t.Encode(text), contextLength)
}

// Decode joins ids to a text; the ends of words become spaces. An id outside the vocabulary is left out, and so are the
// start and end tokens.
func (t *Tokenizer) Decode(ids []int) string {
	var out strings.Builder
	for _, id := range ids {
		if id < 0 || id >= len(t.bpe.pieces) || int64(id) == t.frame.start || int64(id) == t.frame.end {
			continue
		}
		piece, ends := strings.CutSuffix(t.bpe.pieces[id], suffix)
		out.WriteString(byteLetters().text(piece))
		if ends {
			out.WriteByte(' ')
		}
	}
	return validUTF8(out.String())
}
