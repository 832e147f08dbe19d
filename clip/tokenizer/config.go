package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// tokenizerConfig is what of Hugging Face's tokenizer_config.json changes ids.
type tokenizerConfig struct {
	Pad     token `json:"pad_token"`
	Start   token `json:"cls_token"`
	End     token `json:"sep_token"`
	Mask    token `json:"mask_token"`
	Unknown token `json:"unk_token"`

	Lower   *bool `json:"do_lower_case"`
	Chinese *bool `json:"tokenize_chinese_chars"`
	Accents *bool `json:"strip_accents"`
	Basic   *bool `json:"do_basic_tokenize"`
}

// token is a text, an object that holds it, or null.
type token string

func (t *token) UnmarshalJSON(data []byte) error {
	var whole struct{ Content string }
	if json.Unmarshal(data, (*string)(t)) == nil {
		return nil
	}
	if json.Unmarshal(data, &whole) != nil {
		return fmt.Errorf("the token %.60q is neither a text nor an object with one", data)
	}
	*t = token(whole.Content)
	return nil
}

// readConfig reads a directory's tokenizer_config.json, which need not be there.
func readConfig(dir string) (c tokenizerConfig, err error) {
	path := filepath.Join(dir, "tokenizer_config.json")
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}
