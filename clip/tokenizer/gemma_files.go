package tokenizer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// openGemma reads a tokenizer.json of the type BPE with byte_fallback.
func openGemma(path string, j *tokenizerJSON, o Options) (Encoder, error) {
	m, err := j.gemma(o)
	var t *Gemma
	if err == nil {
		t, err = newGemma(m, o)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func (j *tokenizerJSON) gemma(o Options) (m gemmaModel, err error) {
	v, err := j.bpe()
	if err != nil {
		return m, err
	}
	m = gemmaModel{pieces: v.pieces, merges: v.merges, unknownToken: j.Model.Unknown, fuseUnknown: j.Model.FuseUnknown, ignoreMerges: j.Model.IgnoreMerges, added: j.Added}
	if p := j.Model.Prefix; p != nil && *p != "" || j.Model.Suffix != "" {
		return m, errors.New("continuing_subword_prefix and end_of_word_suffix are not supported beside byte_fallback")
	}
	for _, s := range j.Normalizer.all() {
		switch {
		case s.Type == "Lowercase":
			m.steps = append(m.steps, gemmaStep{lower: true})
		case s.Type == "Replace" && s.Pattern.String != "" && len(s.Content) <= len("▁"): // or texts would grow without bound
			m.steps = append(m.steps, gemmaStep{from: s.Pattern.String, to: s.Content})
		case s.Type == "Replace":
			return m, fmt.Errorf("the normalizer Replace of %.60q by %.60q is not supported: one of a text by a single letter is", s.Pattern.String+s.Pattern.Regex, s.Content)
		default:
			return m, fmt.Errorf("the normalizer %q is not supported beside byte_fallback: Lowercase and Replace are", s.Type)
		}
	}
	if len(m.steps) > 8 {
		return m, fmt.Errorf("it has %d normalizers; at most 8 are read", len(m.steps))
	}
	for _, s := range j.PreToken.all() {
		if s.Type != "Split" || s.Pattern.String != " " || s.Behavior != "MergedWithPrevious" || s.Invert {
			return m, fmt.Errorf("the pre-tokenizer %q is not supported beside byte_fallback, but for Split after spaces (MergedWithPrevious)", s.Type)
		}
		m.splitSpaces = true
	}
	start, end := j.framing()
	if end == "" {
		return m, errors.New("the post_processor ends a text with no token; it must end with SigLIP 2's <eos>")
	}
	m.frame.start = -1
	pad := o.pad(v.pad, "<pad>")
	if start != "" {
		m.frame, err = v.frame(start, end, pad)
		return m, err
	}
	m.frame, err = v.frame(end, end, pad)
	m.frame.start = -1
	return m, err
}

// byteOf is the byte that a piece like "<0x0A>" stands for, or -1.
func byteOf(piece string) int {
	if digits, ok := strings.CutPrefix(piece, "<0x"); ok && len(piece) == len("<0x00>") && piece[5] == '>' {
		if b, err := strconv.ParseUint(digits[:2], 16, 8); err == nil && digits[:2] == strings.ToUpper(digits[:2]) {
			return int(b)
		}
	}
	return -1
}

// lowerLetters is text in lower case letter by letter, as the tokenizers library does it with Unicode 17: in Go's version
// some of the letters are not assigned yet.
func lowerLetters(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == 'İ':
			out.WriteString("i\u0307")
		case r >= 0x10d50 && r <= 0x10d65:
			out.WriteRune(r + 0x20)
		case r >= 0x16ea0 && r <= 0x16eb8:
			out.WriteRune(r + 0x1b)
		case later[r] != 0:
			out.WriteRune(later[r])
		default:
			out.WriteRune(unicode.ToLower(r))
		}
	}
	return out.String()
}

// later are the capitals that Unicode 16 and 17 have added to Latin and Cyrillic.
var later = map[rune]rune{0x1c89: 0x1c8a, 0xa7cb: 0x264, 0xa7cc: 0xa7cd, 0xa7ce: 0xa7cf, 0xa7d2: 0xa7d3, 0xa7d4: 0xa7d5, 0xa7da: 0xa7db, 0xa7dc: 0x19b}
