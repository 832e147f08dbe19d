package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Options are a model's own wishes of its tokenizer (open_clip's tokenizer_kwargs). The zero value is each tokenizer's.
type Options struct {
	Clean    Clean  // lower for CLIP, whitespace for the others; SigLIP needs Canonicalize
	Pad      string // the token that fills, for the one that the files name
	Language string // of the texts, before which NLLB has its name (fra_Latn); eng_Latn if ""
	StripSep bool   // the id of BERT's [SEP], or of RoBERTa's and XLM-R's </s>, becomes 0 in Tokenize's rows: CLIPA needs it
}

func (o Options) clean(own Clean) (Clean, error) {
	if o.Clean == "" {
		return own, nil
	}
	return o.Clean, o.Clean.check()
}

// pad is the token that fills: the option, the files' own, or the class's.
func (o Options) pad(files, class string) string {
	for _, token := range []string{o.Pad, files} {
		if token != "" {
			return token
		}
	}
	return class
}

// Open reads the tokenizer of a model's directory as Hugging Face lays it out. In this order it looks for
//
//	tokenizer.json              a byte-pair, Unigram or WordPiece vocabulary with its frame; NLLB's
//	vocab.json and merges.txt   CLIP's or RoBERTa's
//	spiece.model                T5's and SigLIP's
//	sentencepiece.bpe.model     XLM-R's
//	vocab.txt                   BERT's
//
// tokenizer_config.json names the token that fills and BERT's switches. It fails, naming the file, on what is missing,
// wrong or not supported.
func Open(dir string, o Options) (Encoder, error) {
	if o.Pad == "" {
		config, err := readConfig(dir)
		if err != nil {
			return nil, err
		}
		o.Pad = string(config.Pad)
	}
	for _, kind := range []struct {
		file string
		read func(path string, o Options) (Encoder, error)
	}{{"tokenizer.json", openJSON}, {"vocab.json", openVocab}, {"spiece.model", openT5}, {"sentencepiece.bpe.model", openXLMR}, {"vocab.txt", openBERT}} {
		path := filepath.Join(dir, kind.file)
		if _, err := os.Stat(path); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			continue
		}
		e, err := kind.read(path, o)
		if err == nil && o.StripSep {
			e, err = stripSep(path, e)
		}
		if err != nil {
			return nil, err
		}
		return e, nil
	}
	return nil, fmt.Errorf("%s holds no tokenizer: tokenizer.json, vocab.json with merges.txt, spiece.model, sentencepiece.bpe.model and vocab.txt are read", dir)
}

// ofVocabulary is CLIP's tokenizer or RoBERTa's, by the special tokens.
func ofVocabulary(path string, v *vocabularyFiles, o Options) (Encoder, error) {
	start, _ := OpenAI.tokens()
	var e Encoder
	var err error
	if _, missing := v.frame(start, start, start); missing == nil {
		e, err = fromFiles(v, o)
	} else {
		e, err = newRoBERTa(v, o)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

func openVocab(path string, o Options) (Encoder, error) {
	v, err := readBPE(path, filepath.Join(filepath.Dir(path), "merges.txt"))
	if err != nil {
		return nil, err
	}
	return ofVocabulary(path, v, o)
}

func openJSON(path string, o Options) (Encoder, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	j, err := parseTokenizerJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case j.Model.Type == "WordPiece":
		return openBERTJSON(path, j, o)
	case j.Model.Type == "BPE" && j.Model.ByteFallback:
		return openGemma(path, j, o)
	case j.Model.Type == "Unigram" || j.Model.Type == "" && j.Model.UnknownID != nil:
		own := "<pad>"
		if j.Padding != nil {
			own = j.Padding.Token
		}
		m, err := j.unigram(o.pad(own, ""))
		return ofUnigram(path, m, err, o)
	case j.Model.Type == "BPE" && j.isSentencePieceBPE():
		return openNLLB(path, j, o)
	case j.Model.Type == "BPE" || j.Model.Type == "" && len(j.Model.Merges) > 0:
		v, err := j.bpe()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return ofVocabulary(path, v, o)
	}
	return nil, fmt.Errorf("%s: a model of the type %q is not supported: BPE, Unigram and WordPiece are", path, j.Model.Type)
}

func ofUnigram(path string, m unigramModel, err error, o Options) (Encoder, error) {
	var clean Clean
	if err == nil {
		clean, err = o.clean(Whitespace)
	}
	var t *Unigram
	if err == nil {
		t, err = newUnigram(m, clean)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func openT5(path string, o Options) (Encoder, error) {
	return openModel(path, o, func(m *unigramModel) error { return m.asT5(o.pad("", "<pad>")) })
}

func openXLMR(path string, o Options) (Encoder, error) {
	return openModel(path, o, (*unigramModel).asXLMR)
}

func openModel(path string, o Options, as func(*unigramModel) error) (Encoder, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	m, err := readSentencePiece(data)
	if err == nil {
		err = as(&m)
	}
	return ofUnigram(path, m, err, o)
}

// asT5 gives a model T5's frame: text </s>.
func (m *unigramModel) asT5(pad string) error {
	m.frame = frame{-1, -1, -1}
	for id, p := range m.pieces {
		if p.kind != control && p.kind != unknown {
			continue
		}
		m.specials = append(m.specials, special{text: p.text, id: id})
		if p.text == "</s>" {
			m.frame.end = int64(id)
		}
		if p.text == pad {
			m.frame.pad = int64(id)
		}
	}
	if m.frame.end < 0 || m.frame.pad < 0 {
		return fmt.Errorf("its control pieces lack </s> or %q", pad)
	}
	return nil
}

// asXLMR gives a model XLM-R's ids, which are fairseq's: <s>, <pad>, </s>, <unk>, the pieces but the first three, <mask>.
func (m *unigramModel) asXLMR() error {
	if len(m.pieces) < 3 || m.pieces[0].text != "<unk>" || m.pieces[1].text != "<s>" || m.pieces[2].text != "</s>" {
		return errors.New("its first pieces are not <unk>, <s> and </s>, as XLM-R's are")
	}
	m.ids = []int{3, 0, 2}
	for i := 3; i < len(m.pieces); i++ {
		m.ids = append(m.ids, i+1)
	}
	mask := len(m.pieces) + 1
	m.size, m.frame = mask+1, frame{0, 2, 1}
	m.specials = []special{{text: "<s>", id: 0}, {text: "<pad>", id: 1}, {text: "</s>", id: 2}, {text: "<unk>", id: 3}, {text: "<mask>", id: mask, trimBefore: true}}
	return nil
}
