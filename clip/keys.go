package clip

import (
	"slices"
	"strings"

	"github.com/goclip/goclip/torch/checkpoint"
)

// stateDict gives the tensors of a file the keys that the model has, where open_clip would (open_clip 3.3.0
// src/open_clip/factory.py load_state_dict, load_checkpoint): DistributedDataParallel's prefix goes, and so does what is no
// weight: the three numbers of OpenAI's archives, masks and position ids that follow from the config. The text tower's
// keys get or lose their prefix. Two keys that become one stay as they are, to be told of.
func (m *Model) stateDict(f *checkpoint.File) map[string]checkpoint.Entry {
	entries := map[string]checkpoint.Entry{}
	for _, name := range f.Names() {
		e, _ := f.Entry(name)
		key := strings.TrimPrefix(name, "module.")
		last := key[strings.LastIndexByte(key, '.')+1:]
		if slices.Contains([]string{"input_resolution", "context_length", "vocab_size"}, key) || last == "attn_mask" || last == "position_ids" {
			continue
		}
		switch {
		case m.Config.flat():
			key = strings.TrimPrefix(key, "text.")
		case m.Config.Text.HFModelName == "" && isTextKey(key):
			key = "text." + key
		}
		if _, twice := entries[key]; twice {
			key = name
		}
		entries[key] = e
	}
	return entries
}

// isTextKey tells whether OpenAI's layout has the key at the top and it belongs to the text tower.
func isTextKey(key string) bool {
	first, _, _ := strings.Cut(key, ".")
	return slices.Contains([]string{"positional_embedding", "text_projection", "token_embedding", "transformer", "ln_final", "cls_emb"}, first)
}
