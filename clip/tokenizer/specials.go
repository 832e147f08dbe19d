package tokenizer

import (
	"iter"
	"strings"
)

// special is a token that is matched inside texts, before anything else splits them.
type special struct {
	text       string
	id         int
	trimBefore bool // white space before it is left out (RoBERTa's <mask>)
	trimAfter  bool
	added      bool // to the vocabulary, and an ordinary word but for that
}

// specials are a vocabulary's special tokens, by first byte.
type specials [256][]special

func (s *specials) add(t special) { s[t.text[0]] = append(s[t.text[0]], t) }

// added are those that are no special tokens.
func (s *specials) added() (out specials) {
	for first, tokens := range s {
		for _, t := range tokens {
			if t.added {
				out[first] = append(out[first], t)
			}
		}
	}
	return out
}

// at is the longest special token that text begins with.
func (s *specials) at(text string) (found special, ok bool) {
	for _, t := range s[text[0]] {
		if len(t.text) > len(found.text) && strings.HasPrefix(text, t.text) {
			found, ok = t, true
		}
	}
	return found, ok
}

// split yields the parts of text between special tokens, each with -1, and the special tokens with their ids.
func (s *specials) split(text string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		for i := 0; i < len(text); {
			t, ok := s.at(text[i:])
			if !ok {
				i++
				continue
			}
			before, after := text[:i], text[i+len(t.text):]
			if t.trimBefore {
				before = strings.TrimRightFunc(before, isSpace)
			}
			if t.trimAfter {
				after = strings.TrimLeftFunc(after, isSpace)
			}
			if before != "" && !yield(before, -1) || !yield(t.text, t.id) {
				return
			}
			text, i = after, 0
		}
		if text != "" {
			yield(text, -1)
		}
	}
}
