package ftfy

import (
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"
)

// charmap is a single-byte encoding.
type charmap struct {
	name  string
	table string // 256 runes
	bytes map[rune]byte
}

// The patterns are compiled at the first text that is not plain ASCII.
var patterns = sync.OnceValue(func() (p struct{ bad, detector, strict *regexp.Regexp }) {
	p.bad, p.detector, p.strict = regexp.MustCompile(badness), regexp.MustCompile(detector), regexp.MustCompile(continuationStrict)
	for i := range charmaps {
		c := &charmaps[i]
		c.bytes = map[rune]byte{}
		at := 0
		for _, r := range c.table {
			if _, taken := c.bytes[r]; !taken {
				c.bytes[r] = byte(at)
			}
			at++
		}
	}
	return p
})

// Patterns over bytes: regexp reads UTF-8, so each byte stands as the rune of its number (Latin-1).
var (
	alteredUTF8 = regexp.MustCompile("[\u00c2\u00c3\u00c5\u00ce\u00d0\u00d9][ ]" +
		"|[\u00e2\u00e3][ ][\u0080-\u0084\u0086-\u009f\u00a1-\u00bf]" +
		"|[\u00e0-\u00e3][\u0080-\u0084\u0086-\u009f\u00a1-\u00bf][ ]" +
		"|[\u00f0][ ][\u0080-\u00bf][\u0080-\u00bf]" +
		"|[\u00f0][\u0080-\u00bf][ ][\u0080-\u00bf]" +
		"|[\u00f0][\u0080-\u00bf][\u0080-\u00bf][ ]")
	lossyUTF8 = regexp.MustCompile("[\u00c2-\u00df][\x1a]" +
		"|[\u00c2-\u00c3][?]" +
		"|\u00ed[\u00a0-\u00af][\x1a?]\u00ed[\u00b0-\u00bf][\x1a?\u0080-\u00bf]" +
		"|\u00ed[\u00a0-\u00af][\x1a?\u0080-\u00bf]\u00ed[\u00b0-\u00bf][\x1a?]" +
		"|[\u00e0-\u00ef][\x1a?][\x1a\u0080-\u00bf]" +
		"|[\u00e0-\u00ef][\x1a\u0080-\u00bf][\x1a?]" +
		"|[\u00f0-\u00f4][\x1a?][\x1a\u0080-\u00bf][\x1a\u0080-\u00bf]" +
		"|[\u00f0-\u00f4][\x1a\u0080-\u00bf][\x1a?][\x1a\u0080-\u00bf]" +
		"|[\u00f0-\u00f4][\x1a\u0080-\u00bf][\x1a\u0080-\u00bf][\x1a?]" +
		"|\x1a")
)

func isBad(text string) bool { return patterns().bad.MatchString(text) }

// fixEncoding undoes mojibake: text that was encoded as UTF-8 and decoded as a single-byte encoding, perhaps twice.
func fixEncoding(text string) string {
	for {
		fixed := fixEncodingOnce(text)
		if fixed == text {
			return text
		}
		text = fixed
	}
}

func fixEncodingOnce(text string) string {
	if isASCII(text) || !isBad(text) {
		return text
	}
	latin1 := false
	for i := range charmaps {
		c := &charmaps[i]
		bytes, ok := c.encode(text)
		if !ok {
			continue
		}
		latin1 = latin1 || c.name == "latin-1"
		if fixed, ok := decode(bytes, c.name); ok {
			return fixed
		}
	}
	if fixed := decodeInconsistentUTF8(text); fixed != text {
		return fixed
	}
	if latin1 {
		if fixed, ok := asWindows1252(text); ok && fixed != text {
			return fixed
		}
	}
	return fixC1Controls(text)
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// encode is text in the encoding, each byte as the rune of its number.
func (c *charmap) encode(text string) (string, bool) {
	var out strings.Builder
	for _, r := range text {
		b, ok := c.bytes[r]
		if !ok {
			return "", false
		}
		out.WriteRune(rune(b))
	}
	return out.String(), true
}

// decode reads bytes as UTF-8, with the bytes that careless programs changed put back.
func decode(bytes, encoding string) (string, bool) {
	if encoding != "macroman" && alteredUTF8.MatchString(bytes) {
		bytes = restoreByteA0(bytes)
	}
	if strings.HasPrefix(encoding, "sloppy") {
		bytes = lossyUTF8.ReplaceAllLiteralString(bytes, "\u00ef\u00bf\u00bd")
	}
	raw := make([]byte, 0, len(bytes))
	for _, r := range bytes {
		raw = append(raw, byte(r))
	}
	if !strings.ContainsAny(bytes, "\u00ed\u00c0") {
		return string(raw), utf8.Valid(raw)
	}
	return decodeVariants(raw)
}

// restoreByteA0 puts back no-break spaces inside UTF-8 that became spaces. "Ã " as a word of its own keeps its space.
func restoreByteA0(bytes string) string {
	var out strings.Builder
	for i := 0; i < len(bytes); {
		rest := bytes[i:]
		if after, ok := strings.CutPrefix(rest, "\u00c3 "); ok && !strings.HasPrefix(after, " ") && !strings.HasPrefix(after, "quele") &&
			!strings.HasPrefix(after, "quela") && !strings.HasPrefix(after, "quilo") && !strings.HasPrefix(after, "s ") {
			out.WriteString("\u00c3\u00a0 ")
			i += len("\u00c3 ")
			continue
		}
		_, size := utf8.DecodeRuneInString(rest)
		out.WriteString(rest[:size])
		i += size
	}
	return alteredUTF8.ReplaceAllStringFunc(out.String(), func(m string) string { return strings.ReplaceAll(m, " ", "\u00a0") })
}

// decodeVariants reads UTF-8 in which characters beyond U+FFFF are two surrogates (CESU-8) and U+0000 is C0 80 (Java).
func decodeVariants(raw []byte) (string, bool) {
	var out strings.Builder
	for i := 0; i < len(raw); {
		b := raw[i:]
		if b[0] == 0xc0 && len(b) > 1 && b[1] == 0x80 {
			out.WriteByte(0)
			i += 2
			continue
		}
		if len(b) >= 6 && b[0] == 0xed && b[1] >= 0xa0 && b[1] <= 0xaf && b[2]>>6 == 2 && b[3] == 0xed && b[4] >= 0xb0 && b[4] <= 0xbf && b[5]>>6 == 2 {
			out.WriteRune(rune(b[1]&0x0f)<<16 + rune(b[2]&0x3f)<<10 + rune(b[4]&0x0f)<<6 + rune(b[5]&0x3f) + 0x10000)
			i += 6
			continue
		}
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			return "", false
		}
		out.WriteRune(r)
		i += size
	}
	return out.String(), true
}

// decodeInconsistentUTF8 fixes mojibake that stands among good text.
func decodeInconsistentUTF8(text string) string {
	p := patterns()
	var out strings.Builder
	for i := 0; i < len(text); {
		n := 0
		if !p.strict.MatchString(lastRune(text[:i])) {
			n = len(p.detector.FindString(text[i:]))
		}
		if n == 0 {
			_, n = utf8.DecodeRuneInString(text[i:])
			out.WriteString(text[i : i+n])
		} else if part := text[i : i+n]; n < len(text) && isBad(part) {
			out.WriteString(fixEncoding(part))
		} else {
			out.WriteString(part)
		}
		i += n
	}
	return out.String()
}

func lastRune(s string) string {
	_, size := utf8.DecodeLastRuneInString(s)
	return s[len(s)-size:]
}

const undefined1252 = "\u0081\u008d\u008f\u0090\u009d"

// asWindows1252 reads Latin-1 text as Windows-1252, in which five bytes mean nothing.
func asWindows1252(text string) (string, bool) {
	if strings.ContainsAny(text, undefined1252) {
		return "", false
	}
	return fixC1Controls(text), true
}

// fixC1Controls reads the control characters U+0080 to U+009F as the Windows-1252 bytes they were.
func fixC1Controls(text string) string {
	if isASCII(text) {
		return text
	}
	patterns()
	table := []rune(charmaps[1].table) // sloppy-windows-1252
	return strings.Map(func(r rune) rune {
		if r >= 0x80 && r <= 0x9f {
			return table[r]
		}
		return r
	}, text)
}
