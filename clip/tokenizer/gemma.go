package tokenizer

import (
	"fmt"
	"slices"
	"strings"
)

// gemmaModel is what a tokenizer.json with a byte-pair vocabulary of letters, not of bytes, says.
type gemmaModel struct {
	pieces       []string // by id
	merges       [][2]string
	unknownToken string // for a letter that is no piece and whose bytes are none; "" leaves it out
	fuseUnknown  bool   // one for a run of them
	ignoreMerges bool   // a part that is a piece is taken as it is
	steps        []gemmaStep
	splitSpaces  bool // after each space
	added        []added
	frame        frame
}

// gemmaStep is lower case, or to in the place of from.
type gemmaStep struct {
	lower    bool
	from, to string
}

// Gemma is byte-pair encoding over letters, with bytes for those that are no pieces, as SigLIP 2 has it: text <eos>, filled
// with <pad>. Open reads it. The ids are those of Hugging Face's tokenizers library, which made the file.
type Gemma struct {
	gemmaModel
	clean   Clean
	ids     map[string]int32
	table   mergeTable
	bytes   [256]int32 // -1 where there is none
	unknown int32      // or -1
	raw     specials   // added tokens that are matched in the cleaned text
	late    specials   // and in the normalized one
}

func newGemma(m gemmaModel, o Options) (*Gemma, error) {
	t := &Gemma{gemmaModel: m, ids: numbered(m.pieces), unknown: -1}
	var err error
	if o.Clean == Lowercase {
		t.clean, t.steps = Lowercase, append([]gemmaStep{{lower: true}}, t.steps...)
	} else if t.clean, err = o.clean(Whitespace); err != nil {
		return nil, err
	}
	total := 0
	for id, piece := range m.pieces {
		if total += len(piece); total > maxTexts {
			return nil, fmt.Errorf("its pieces have more than %d MiB together", maxTexts>>20)
		}
		if len(piece) > maxPiece {
			return nil, fmt.Errorf("piece %d has %d bytes; at most %d are read", id, len(piece), maxPiece)
		}
	}
	for b := range t.bytes {
		t.bytes[b] = -1
		if id, ok := t.ids[fmt.Sprintf("<0x%02X>", b)]; ok {
			t.bytes[b] = id
		}
	}
	if m.unknownToken != "" {
		id, ok := t.ids[m.unknownToken]
		if !ok {
			return nil, fmt.Errorf("the vocabulary lacks unk_token, %q", m.unknownToken)
		}
		t.unknown = id
	}
	if t.table, err = newMerges(t.ids, slices.All(m.merges)); err != nil {
		return nil, err
	}
	t.merges = nil
	for _, a := range m.added {
		s := special{a.Content, a.ID, a.LStrip, a.RStrip, !a.Special}
		if !a.Normalized {
			t.raw.add(s)
		} else if s.text = t.normalize(s.text); s.text != "" {
			t.late.add(s)
		}
	}
	return t, nil
}

// VocabSize is 256,000 with SigLIP 2's published vocabulary.
func (t *Gemma) VocabSize() int { return len(t.pieces) }

// Pad is 0 with SigLIP 2's published vocabulary.
func (t *Gemma) Pad() int64 { return t.frame.pad }

// End returns the id of <eos>, 1 with SigLIP 2's published vocabulary.
func (t *Gemma) End() int64 { return t.frame.end }

// Tokenize is Encode in its frame, filled with Pad to contextLength ids. A longer text is cut so that <eos> is the last
// id, and truncated is true.
func (t *Gemma) Tokenize(text string, contextLength int) (ids []int64, truncated bool) {
	return t.frame.row(t.Encode(text), contextLength)
}

// Encode cleans a text and splits it into ids, without its frame. Added tokens inside the text are theirs.
func (t *Gemma) Encode(text string) []int {
	var ids []int
	for part, id := range t.raw.split(t.clean.apply(text)) {
		if id >= 0 {
			ids = append(ids, id)
			continue
		}
		for part, id := range t.late.split(t.normalize(part)) {
			switch {
			case id >= 0:
				ids = append(ids, id)
			case t.splitSpaces:
				for word := range strings.SplitAfterSeq(part, " ") {
					ids = t.appendPart(ids, word)
				}
			default:
				ids = t.appendPart(ids, part)
			}
		}
	}
	return ids
}

func (t *Gemma) normalize(text string) string {
	for _, s := range t.steps {
		if s.lower {
			text = lowerLetters(text)
		} else {
			text = strings.ReplaceAll(text, s.from, s.to)
		}
	}
	return text
}

// appendPart appends the ids of a part that no added token and no space divides.
func (t *Gemma) appendPart(ids []int, part string) []int {
	if id, ok := t.ids[part]; ok && t.ignoreMerges {
		return append(ids, int(id))
	}
	symbols := make([]int32, 0, len(part))
	unknown := false // one waits for the next letter that is a piece; bytes come before it, as in the library
	for _, r := range part {
		letter := string(r)
		if id, ok := t.ids[letter]; ok {
			if unknown {
				symbols = append(symbols, t.unknown)
			}
			symbols, unknown = append(symbols, id), false
			continue
		}
		if t.bytesOf(letter) {
			for i := range len(letter) {
				symbols = append(symbols, t.bytes[letter[i]])
			}
			continue
		}
		if unknown && !t.fuseUnknown {
			symbols = append(symbols, t.unknown)
		}
		unknown = t.unknown >= 0
	}
	if unknown {
		symbols = append(symbols, t.unknown)
	}
	return t.table.join(ids, symbols, false)
}

// bytesOf reports whether each byte of a letter is a piece.
func (t *Gemma) bytesOf(letter string) bool {
	for i := range len(letter) {
		if t.bytes[letter[i]] < 0 {
			return false
		}
	}
	return true
}

// Decode joins ids to a text. An id outside the vocabulary is left out, and so are the frame's tokens.
func (t *Gemma) Decode(ids []int) string {
	var out strings.Builder
	for _, id := range ids {
		if id < 0 || id >= len(t.pieces) || int64(id) == t.frame.start || int64(id) == t.frame.end || int64(id) == t.frame.pad {
			continue
		}
		piece := t.pieces[id]
		if b := byteOf(piece); b >= 0 {
			out.WriteByte(byte(b))
		} else {
			out.WriteString(strings.ReplaceAll(piece, "▁", " "))
		}
	}
	return validUTF8(out.String())
}
