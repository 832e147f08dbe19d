package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// HuggingFaceFiles returns the files, by name, from which transformers' CLIPTokenizer makes the tokenizer of [New], for a model
// of contextLength tokens. It fills with the end token, which a causal tower does not see.
func HuggingFaceFiles(contextLength int) (map[string][]byte, error) {
	b := embedded()
	vocab := make(map[string]int, len(b.pieces))
	for id, piece := range b.pieces {
		vocab[piece] = id
	}
	merges := bytes.NewBufferString("#version: 0.2\n")
	for rank := range len(joined) / 4 {
		first, second := sides(rank)
		fmt.Fprintf(merges, "%s %s\n", b.pieces[first], b.pieces[second])
	}
	start, end := OpenAI.tokens()
	specials := map[string]string{"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
	config := map[string]any{"tokenizer_class": "CLIPTokenizer", "model_max_length": contextLength, "do_lower_case": true,
		"errors": "replace", "add_prefix_space": false}
	for name, token := range specials {
		config[name] = token
	}
	files := map[string][]byte{"merges.txt": merges.Bytes()}
	var err error
	for name, content := range map[string]any{"vocab.json": vocab, "special_tokens_map.json": specials, "tokenizer_config.json": config} {
		if files[name], err = marshal(content); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// marshal leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return out.Bytes(), err
}
