package ftfy

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

var entities = sync.OnceValue(func() map[string]string { return table(html5) })

// strictEntities are the names that end in a semicolon, and those that ftfy reads in capitals too.
var strictEntities = sync.OnceValue(func() map[string]string {
	all := table(upperEntities)
	for name, text := range entities() {
		if strings.HasSuffix(name, ";") {
			all[name] = text
		}
	}
	return all
})

func table(lines string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(lines) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if text == `\n` {
			text = "\n"
		}
		m[name] = text
	}
	return m
}

var entity = regexp.MustCompile(`&#?[0-9A-Za-z]{1,24};`)

// unescapeHTML is ftfy's: only entities that end in a semicolon.
func unescapeHTML(text string) string {
	if !strings.Contains(text, "&") {
		return text
	}
	return entity.ReplaceAllStringFunc(text, func(m string) string {
		if known, ok := strictEntities()[m[1:]]; ok {
			return known
		}
		if m[1] == '#' {
			if plain, n := numeric(m); n == len(m) && plain != ";" { // ftfy takes a semicolon for one that was left over
				return plain
			}
		}
		return m
	})
}

// UnescapeHTML is Python's html.unescape: HTML5's rules, by which a known name needs no semicolon.
func UnescapeHTML(text string) string {
	if !strings.Contains(text, "&") {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		i := strings.IndexByte(text, '&')
		if i < 0 {
			break
		}
		out.WriteString(text[:i])
		plain, n := reference(text[i:])
		out.WriteString(plain)
		text = text[i+n:]
	}
	out.WriteString(text)
	return out.String()
}

// reference resolves the reference at the start of s and tells its length.
func reference(s string) (string, int) {
	if plain, n := numeric(s); n > 0 {
		return plain, n
	}
	n, count := 1, 0
	for n < len(s) && count < 32 && !strings.ContainsRune("\t\n\f <&#;", rune(s[n])) {
		_, size := utf8.DecodeRuneInString(s[n:])
		n += size
		count++
	}
	if count == 0 {
		return "&", 1
	}
	if n < len(s) && s[n] == ';' {
		n++
	}
	name := s[1:n]
	if text, ok := entities()[name]; ok {
		return text, n
	}
	for x := len(name) - 1; x > 1; x-- {
		if text, ok := entities()[name[:x]]; ok {
			return text + name[x:], n
		}
	}
	return s[:n], n
}

// numeric resolves "&#38;" or "&#x26;", with or without the semicolon; n is 0 where there is none.
func numeric(s string) (plain string, n int) {
	if !strings.HasPrefix(s, "&#") {
		return "", 0
	}
	base, start, digits := 10, 2, "0123456789"
	if len(s) > 2 && (s[2] == 'x' || s[2] == 'X') {
		base, start, digits = 16, 3, "0123456789abcdefABCDEF"
	}
	n = start
	for n < len(s) && strings.IndexByte(digits, s[n]) >= 0 {
		n++
	}
	if n == start {
		return "", 0
	}
	code, err := strconv.ParseUint(s[start:n], base, 32)
	if n < len(s) && s[n] == ';' {
		n++
	}
	if err != nil || code > utf8.MaxRune || code >= 0xd800 && code <= 0xdfff {
		return "\ufffd", n
	}
	r := rune(code)
	if text, ok := badReferences[r]; ok {
		return text, n
	}
	if r >= 0x1 && r <= 0x8 || r == 0xb || r >= 0xe && r <= 0x1f || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
		return "", n
	}
	return string(r), n
}
