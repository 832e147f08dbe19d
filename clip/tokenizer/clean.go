package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goclip/goclip/clip/tokenizer/ftfy"
)

// Clean is what is done to a text before it is split, by open_clip's names (its tokenizer_kwargs). All but Lowercase begin
// with ftfy.fix_text and HTML entities resolved twice.
type Clean string

const (
	Lower        Clean = "lower"        // white space to single spaces, lower case: CLIP
	Whitespace   Clean = "whitespace"   // white space to single spaces: RoBERTa, XLM-R
	Canonicalize Clean = "canonicalize" // ASCII punctuation left out, lower case, single spaces: SigLIP
	Lowercase    Clean = "lowercase"    // lower case and nothing else, by SigLIP 2's tokenizer.json: transformers' Siglip2Tokenizer
)

func (c Clean) check() error {
	switch c {
	case Lower, Whitespace, Canonicalize:
		return nil
	case Lowercase:
		return fmt.Errorf("%q is for SigLIP 2's tokenizer.json alone; lower, whitespace and canonicalize are for all", string(c))
	}
	return fmt.Errorf("%q is not a way to clean a text: lower, whitespace and canonicalize are", string(c))
}

func (c Clean) apply(text string) string {
	if c == Lowercase { // which is a step between the special tokens
		return text
	}
	text = ftfy.FixText(text)
	text = ftfy.UnescapeHTML(ftfy.UnescapeHTML(text))
	if c == Canonicalize {
		text = strings.Map(dropPunctuation, text)
	}
	if c != Whitespace {
		text = lower(text)
	}
	return strings.Join(strings.FieldsFunc(text, isSpace), " ")
}

// dropPunctuation leaves out Python's string.punctuation, but makes an underscore a space (big_vision's canonicalize_text).
func dropPunctuation(r rune) rune {
	switch {
	case r == '_':
		return ' '
	case r >= '!' && r <= '/', r >= ':' && r <= '@', r >= '[' && r <= '`', r >= '{' && r <= '~':
		return -1
	}
	return r
}

// isSpace is str.isspace of Python: Unicode's White_Space and the four separators of ASCII, which no cleaned text holds.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// lower is Python's str.lower: letter by letter, but for a sigma at the end of a word and the dotted capital i.
func lower(text string) string {
	if !strings.ContainsAny(text, "Σİ") {
		return strings.ToLower(text)
	}
	var out strings.Builder
	for i, r := range text {
		switch {
		case r == 'İ':
			out.WriteString("i\u0307")
		case r == 'Σ' && endsWord(text[:i], text[i+utf8.RuneLen(r):]):
			out.WriteRune('ς')
		default:
			out.WriteRune(unicode.ToLower(r))
		}
	}
	return out.String()
}

// endsWord is Unicode's Final_Sigma: a cased letter stands before, none after, not counting characters that case
// ignores (The Unicode Standard, section 3.13).
func endsWord(before, after string) bool {
	for {
		r, size := utf8.DecodeLastRuneInString(before)
		if size == 0 || !ignored(r) {
			if !cased(r) {
				return false
			}
			break
		}
		before = before[:len(before)-size]
	}
	for _, r := range after {
		if !ignored(r) {
			return !cased(r)
		}
	}
	return true
}

func cased(r rune) bool {
	return unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Lowercase, unicode.Other_Uppercase)
}

func ignored(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) || strings.ContainsRune("'.:··՟״‘’․‧︓﹒﹕＇．：", r)
}
