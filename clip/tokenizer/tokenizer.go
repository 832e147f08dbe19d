// Package tokenizer turns texts to the ids of CLIP's text towers: OpenAI's and open_clip's byte-pair encoding with its
// embedded vocabulary (openai/CLIP clip/simple_tokenizer.py), and from files RoBERTa's, SigLIP's, XLM-R's, BERT's (CLIPA)
// and Gemma's (SigLIP 2).
//
// Every tokenizer is safe for concurrent use. Nothing here touches libtorch.
package tokenizer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
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

// The file is OpenAI's, byte for byte; its licence is in NOTICE.
//
//go:embed bpe_simple_vocab_16e6.txt.gz
var vocabulary []byte

// merges is how many of the file's lines the vocabulary uses, after its first one.
const merges = 49152 - 256 - 2

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
	b, err := embedded()
	if err != nil {
		return nil, err
	}
	start, end := s.tokens()
	return &Tokenizer{b, start, end, c, frame{SOT, EOT, 0}}, nil
}

var embedded = sync.OnceValues(func() (*bpe, error) {
	pairs, err := readEmbedded()
	if err != nil {
		return nil, err
	}
	letters := byteLetters().order
	pieces := slices.Clone(letters)
	for _, letter := range letters {
		pieces = append(pieces, letter+suffix)
	}
	for _, sides := range pairs {
		pieces = append(pieces, sides[0]+sides[1])
	}
	start, end := OpenAI.tokens()
	return newBPE(append(pieces, start, end), slices.All(pairs), suffix)
})

func readEmbedded() ([][2]string, error) {
	z, err := gzip.NewReader(bytes.NewReader(vocabulary))
	if err != nil {
		return nil, err
	}
	pairs := make([][2]string, 0, merges)
	lines := bufio.NewScanner(z)
	lines.Scan() // a version line
	for len(pairs) < merges && lines.Scan() {
		first, second, _ := strings.Cut(lines.Text(), " ")
		pairs = append(pairs, [2]string{first, second})
	}
	return pairs, lines.Err()
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
