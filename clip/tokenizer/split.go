package tokenizer

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// split yields the matches of OpenAI's pattern, in which letter case is ignored,
//
//	<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
//
// as a hand-written scanner. A special token in another letter case is one match too, but an ordinary word.
func (t *Tokenizer) split(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(text) > 0 {
			r, size := utf8.DecodeRuneInString(text)
			if !matched(r) {
				text = text[size:]
				continue
			}
			n := t.match(text, r, size)
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

// contractions are English's, which OpenAI's and GPT-2's patterns split off.
var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// match is the length of the match at the start of text, whose first rune is r.
func (t *Tokenizer) match(text string, r rune, size int) int {
	switch {
	case r == '<':
		if n := max(folded(text, t.start), folded(text, t.end)); n > 0 {
			return n
		}
	case r == '\'':
		for _, fixed := range contractions {
			if n := folded(text, fixed); n > 0 {
				return n
			}
		}
	case isLetter(r):
		return run(text, size, isLetter)
	case isNumber(r):
		return size
	}
	return run(text, size, func(r rune) bool { return isOther(r) && matched(r) })
}

// matched reports whether the pattern matches r at all. Beside white space it passes over the iota below a Greek letter, which
// Python's regex takes for one as case is ignored, but not in [\p{L}]+.
func matched(r rune) bool { return !isSpace(r) && r != '\u0345' }

// folded is the length of the match of an ASCII pattern in lower case at the start of text, whose case is ignored, or 0.
// Beside its capital, Unicode folds the long s to s.
func folded(text, pattern string) int {
	n := 0
	for i := range len(pattern) {
		switch {
		case pattern[i] == 's' && strings.HasPrefix(text[n:], "ſ"):
			n += len("ſ")
		case n < len(text) && (text[n] == pattern[i] || text[n] >= 'A' && text[n] <= 'Z' && text[n]|0x20 == pattern[i]):
			n++
		default:
			return 0
		}
	}
	return n
}

func isOther(r rune) bool { return !isSpace(r) && !isLetter(r) && !isNumber(r) }

// run extends a match of n bytes over the runes that belong.
func run(text string, n int, belongs func(rune) bool) int {
	for n < len(text) {
		r, size := utf8.DecodeRuneInString(text[n:])
		if !belongs(r) {
			break
		}
		n += size
	}
	return n
}

func isLetter(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r|0x20 && r|0x20 <= 'z'
	}
	return unicode.Is(letters, r)
}

func isNumber(r rune) bool {
	if r < utf8.RuneSelf {
		return '0' <= r && r <= '9'
	}
	return unicode.Is(numbers, r)
}
