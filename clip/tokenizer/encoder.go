package tokenizer

// Encoder is what a text tower needs of a tokenizer: *Tokenizer (CLIP's), *RoBERTa, *Unigram (SigLIP's, XLM-R's, mT5's, NLLB's), *BERT
// (CLIPA's) or *Gemma (SigLIP 2's). All are safe for concurrent use.
type Encoder interface {
	// Encode cleans a text and splits it into ids, without the tokens that frame it.
	Encode(text string) []int
	// Tokenize frames Encode's ids and fills them with Pad to contextLength ids. A longer text is cut so that End is
	// the last id, and truncated is true. With Options.StripSep the row holds 0 in the place of End.
	Tokenize(text string, contextLength int) (ids []int64, truncated bool)
	// Decode joins ids to a text, without the tokens that frame it. An id outside the vocabulary is left out.
	Decode(ids []int) string
	// VocabSize is one more than the largest id: the rows of the token embedding.
	VocabSize() int
	// Pad is the id that fills, which a bidirectional tower masks: RoBERTa's and XLM-R's 1, SigLIP's 1 (its end token),
	// BERT's and Gemma's 0.
	Pad() int64
	// End is the id that ends a text.
	End() int64
}

var _, _, _, _, _ Encoder = (*Tokenizer)(nil), (*RoBERTa)(nil), (*Unigram)(nil), (*BERT)(nil), (*Gemma)(nil)

// Plain is e for texts of strangers: special tokens inside a text are text, as with Hugging Face's split_special_tokens.
// The frame stays. An Encoder of another package is returned as it is.
func Plain(e Encoder) Encoder {
	switch t := e.(type) {
	case *Tokenizer:
		plain := *t
		plain.start, plain.end = "", ""
		return &plain
	case *RoBERTa:
		plain := *t
		plain.specials = t.specials.added()
		return &plain
	case *Unigram:
		plain := *t
		plain.specials = t.specials.added()
		return &plain
	case *BERT:
		plain := *t
		plain.specials = t.specials.added()
		return &plain
	case *Gemma:
		plain := *t
		plain.raw, plain.late = t.raw.added(), t.late.added()
		return &plain
	case stripped:
		return stripped{Plain(t.Encoder)}
	}
	return e
}

// frame is the tokens around and after a text.
type frame struct{ start, end, pad int64 } // start is -1 where there is none

// row puts body into n ids.
func (f frame) row(body []int, n int) (ids []int64, truncated bool) {
	ids = make([]int64, 0, max(n, 0))
	add := func(id int64) {
		if len(ids) < n {
			ids = append(ids, id)
		}
	}
	count := len(body) + 1
	if f.start >= 0 {
		add(f.start)
		count++
	}
	for _, id := range body {
		add(int64(id))
	}
	add(f.end)
	if count > n {
		if n > 0 {
			ids[n-1] = f.end
		}
		return ids, true
	}
	for len(ids) < n {
		ids = append(ids, f.pad)
	}
	return ids, false
}

// Length returns the tokens of a text up to the padding behind its end token, at least 1.
func Length(ids []int64, pad int64) int {
	n := len(ids)
	for n > 1 && ids[n-1] == pad {
		n--
	}
	return n
}
