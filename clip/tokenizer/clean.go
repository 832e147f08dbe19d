package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goclip/goclip/clip/tokenizer/ftfy"
)

// clean is OpenAI's cleaning: ftfy.fix_text, HTML entities resolved twice, white space to single spaces, lower case.
func clean(text string) string {
	text = ftfy.FixText(text)
	text = ftfy.UnescapeHTML(ftfy.UnescapeHTML(text))
	text = strings.Join(strings.FieldsFunc(text, isSpace), " ")
	return lower(text)
}

// isSpace is \s of Python's regex module and str.isspace: Unicode's White_Space and the four separators of ASCII.
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
