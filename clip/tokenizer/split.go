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
// as a hand-written scanner. The text is lower case already, so a special token in any case arrives in its own.
func split(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(text) > 0 {
			r, size := utf8.DecodeRuneInString(text)
			if isSpace(r) {
				text = text[size:]
				continue
			}
			n := match(text, r, size)
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

// match is the length of the match at the start of text, whose first rune is r.
func match(text string, r rune, size int) int {
	switch {
	case r == '<' || r == '\'':
		for _, fixed := range []string{startToken, endToken, "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
			if strings.HasPrefix(text, fixed) {
				return len(fixed)
			}
		}
		if strings.HasPrefix(text, "'ſ") { // folds to 's
			return len("'ſ")
		}
	case isLetter(r):
		return run(text, size, isLetter)
	case isNumber(r):
		return size
	}
	return run(text, size, func(r rune) bool { return !isSpace(r) && !isLetter(r) && !isNumber(r) })
}

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
