// Package ftfy repairs text as the Python library ftfy 6.3.1 does with its defaults (rspeer/python-ftfy, Apache-2.0), which OpenAI's
// tokenizer applies first: HTML entities, mojibake, ligatures, full-width letters, curly quotes, line breaks, control
// characters, Unicode normal form C.
package ftfy

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// FixText is ftfy.fix_text: each line separately, until nothing changes any more. HTML entities are resolved up to the
// first line that holds a "<".
func FixText(text string) string {
	if plain(text) {
		return text
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\ufffd")
	}
	var out strings.Builder
	entities := true
	for _, line := range strings.SplitAfter(text, "\n") {
		entities = entities && !strings.Contains(line, "<")
		out.WriteString(fixLine(line, entities))
	}
	return out.String()
}

// plain reports whether no fixer changes text: printable ASCII without "&", or white space.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\n' && c != '\t' || c >= 0x7f || c == '&' {
			return false
		}
	}
	return true
}

func fixLine(text string, entities bool) string {
	for {
		before := text
		if entities {
			text = unescapeHTML(text)
		}
		text = fixEncoding(text)
		text = fixC1Controls(text)
		text = characters.Replace(text)
		text = terminal.ReplaceAllString(text, "")
		text = strings.Map(dropControl, text)
		text = NFC(text)
		if text == before {
			return text
		}
	}
}

// terminal is a colour code or cursor movement.
var terminal = regexp.MustCompile("\x1b\\[((?:\\d|;)*)([a-zA-Z])")

// dropControl leaves out what is neither text nor white space that one sees.
func dropControl(r rune) rune {
	switch {
	case r < 0x09, r == 0x0b, r >= 0x0e && r < 0x20, r == 0x7f, r >= 0x206a && r < 0x2070, r == 0xfeff, r >= 0xfff9 && r < 0xfffd:
		return -1
	}
	return r
}

// characters applies the fixers that replace single characters; none of their results is another's input.
var characters = strings.NewReplacer(characterPairs()...)

func characterPairs() []string {
	pairs := []string{
		// Latin ligatures and digraphs.
		"Ĳ", "IJ", "ĳ", "ij", "ŉ", "'n", "Ǳ", "DZ", "ǲ", "Dz", "ǳ", "dz", "Ǆ", "DŽ", "ǅ", "Dž", "ǆ", "dž", "Ǉ", "LJ", "ǈ", "Lj",
		"ǉ", "lj", "Ǌ", "NJ", "ǋ", "Nj", "ǌ", "nj", "ﬀ", "ff", "ﬁ", "fi", "ﬂ", "fl", "ﬃ", "ffi", "ﬄ", "ffl", "ﬅ", "ſt", "ﬆ", "st",
		// Curly quotes.
		"ʼ", "'", "‘", "'", "’", "'", "‚", "'", "‛", "'", "“", `"`, "”", `"`, "„", `"`, "‟", `"`,
		// Line breaks.
		"\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n", "\u0085", "\n",
		"\u3000", " ",
	}
	for r := rune(0xff01); r < 0xfff0; r++ { // full and half width
		from := string(r)
		if to := norm.NFKC.String(from); to != from {
			pairs = append(pairs, from, to)
		}
	}
	return pairs
}
