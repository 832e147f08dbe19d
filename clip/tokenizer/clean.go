package tokenizer

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"

	"github.com/goclip/goclip/clip/tokenizer/ftfy"
)

// clean is OpenAI's cleaning: ftfy.fix_text, HTML entities resolved twice, white space to single spaces, lower case.
func clean(text string) string {
	text = ftfy.FixText(text)
	text = ftfy.UnescapeHTML(ftfy.UnescapeHTML(text))
	text = strings.Join(strings.FieldsFunc(text, isSpace), " ")
	return lower(text)
}

// lower is Python's str.lower, which knows the final sigma; ASCII takes the short way.
func lower(text string) string {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return cases.Lower(language.Und).String(text)
		}
	}
	return strings.ToLower(text)
}

// isSpace is \s of Python's regex module and str.isspace: Unicode's White_Space and the four separators of ASCII.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
