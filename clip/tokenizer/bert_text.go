package tokenizer

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goclip/goclip/clip/tokenizer/ftfy"
)

// bertText is what BERT's tokenizer does to a text before it looks for pieces: BertNormalizer's four switches.
type bertText struct {
	clean   bool // controls are left out, each white space is a space
	chinese bool // a Chinese character is a word
	accents bool // are stripped
	lower   bool
}

// lowerBetween is text in lower case but for its special tokens. A sigma at the end of a word becomes σ as others do, for
// transformers lowers letter by letter here. What this version of Unicode does not know keeps its case, and is left out later.
func (b bertText) lowerBetween(text string, s *specials) string {
	var out strings.Builder
	for part, id := range s.split(text) {
		if id >= 0 {
			out.WriteString(part)
			continue
		}
		for _, r := range part {
			switch {
			case r == 'İ':
				out.WriteString("i\u0307")
			case unicode.Is(controls, r):
				out.WriteRune(r)
			default:
				out.WriteRune(unicode.ToLower(r))
			}
		}
	}
	return out.String()
}

// words yields the words of a text, and each of its punctuation characters. Special tokens that cleaning has made stay whole.
func (b bertText) words(text string, s *specials) iter.Seq[string] {
	return func(yield func(string) bool) {
		for word := range strings.FieldsFuncSeq(ftfy.NFC(b.letters(text)), isSpace) {
			if t, ok := s.at(word); ok && t.text == word {
				if !yield(word) {
					return
				}
				continue
			}
			if b.lower {
				word = lower(word)
			}
			if b.accents {
				word = withoutMarks(word)
			}
			if !splitPunctuation(word, yield) {
				return
			}
		}
	}
}

// letters is text without what cleaning leaves out, and with spaces around Chinese characters.
func (b bertText) letters(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case b.clean && (r == '\t' || r == '\n' || r == '\r' || unicode.Is(unicode.Zs, r)):
			out.WriteByte(' ')
		case b.clean && (r == utf8.RuneError || unicode.Is(controls, r)):
		case b.chinese && isChinese(r):
			out.WriteByte(' ')
			out.WriteRune(r)
			out.WriteByte(' ')
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// withoutMarks decomposes letters and leaves out their accents.
func withoutMarks(word string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(marks, r) {
			return -1
		}
		return r
	}, ftfy.NFD(word))
}

func splitPunctuation(word string, yield func(string) bool) bool {
	for len(word) > 0 {
		n := run(word, 0, func(r rune) bool { return !isPunctuation(r) })
		if n == 0 {
			_, n = utf8.DecodeRuneInString(word)
		}
		if !yield(word[:n]) {
			return false
		}
		word = word[n:]
	}
	return true
}

// isPunctuation is Unicode's, and each sign of ASCII.
func isPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return r > ' ' && r < 0x7f && !isLetter(r) && !isNumber(r)
	}
	return unicode.Is(punctuation, r)
}

// isChinese tells the blocks of ideographs that BERT takes apart, which are not all that there are now.
func isChinese(r rune) bool {
	return r >= 0x4e00 && r <= 0x9fff || r >= 0x3400 && r <= 0x4dbf || r >= 0x20000 && r <= 0x2a6df || r >= 0x2a700 && r <= 0x2b73f ||
		r >= 0x2b740 && r <= 0x2b81f || r >= 0x2b820 && r <= 0x2ceaf || r >= 0xf900 && r <= 0xfaff || r >= 0x2f800 && r <= 0x2fa1f
}
