package tokenizer

import "fmt"

// stripped is a tokenizer whose rows have 0 in the place of each end token, as open_clip's strip_sep_token has it. Encode is
// as before, and so is End, which no row holds.
type stripped struct{ Encoder }

// stripSep refuses tokenizers whose end token is not a separator: open_clip finds none there.
func stripSep(path string, e Encoder) (Encoder, error) {
	switch t := e.(type) {
	case *BERT, *RoBERTa:
		return stripped{e}, nil
	case *Unigram:
		if t.frame.start >= 0 { // XLM-R's, not T5's
			return stripped{e}, nil
		}
	}
	return nil, fmt.Errorf("%s has no separator that strip_sep_token could strip: BERT's, RoBERTa's and XLM-R's vocabularies have one", path)
}

func (s stripped) Tokenize(text string, contextLength int) (ids []int64, truncated bool) {
	ids, truncated = s.Encoder.Tokenize(text, contextLength)
	for i, id := range ids {
		if id == s.End() {
			ids[i] = 0
		}
	}
	return ids, truncated
}
