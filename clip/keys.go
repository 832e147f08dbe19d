package clip

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// weights finds what a file has for each of the model's tensors, whichever library wrote it. problems name what is
// missing and what the model has no place for.
func (m *Model) weights(f *checkpoint.File) (found map[string]weight, problems []string) {
	all := tensors(f)
	if isHuggingFace(all) {
		return m.collect(all, huggingFaceKeys)
	}
	return m.collect(m.withTextPrefix(all), whole)
}

// collect looks up each of the model's tensors under the names that the layout gives it.
func (m *Model) collect(all map[string]checkpoint.Entry, names layout) (found map[string]weight, problems []string) {
	found, missing, unexpected := names.match(all, m.State())
	for key, problem := range missing {
		if key == "logit_bias" { // a model without one, to be trained with the sigmoid loss (open_clip issue 712)
			found[key] = weight{zero: true}
			continue
		}
		problems = append(problems, problem...)
	}
	for _, name := range unexpected {
		problems = append(problems, "unexpected "+name)
	}
	return found, problems
}

// withTextPrefix gives the text tower's keys the prefix that the model has, or takes it away, as open_clip does with
// checkpoints from before there was one (open_clip 3.3.0 src/open_clip/model.py convert_to_custom_text_state_dict).
func (m *Model) withTextPrefix(all map[string]checkpoint.Entry) map[string]checkpoint.Entry {
	renamed := map[string]checkpoint.Entry{}
	for name, e := range all {
		key := name
		switch {
		case m.Config.Flat():
			key = strings.TrimPrefix(key, "text.")
		case m.Config.Text.HFModelName == "" && isTextKey(key):
			key = "text." + key
		}
		if _, twice := all[key]; twice && key != name {
			key = name
		}
		renamed[key] = e
	}
	return renamed
}

// isTextKey reports whether OpenAI's layout has the key at the top and it belongs to the text tower.
func isTextKey(key string) bool {
	first, _, _ := strings.Cut(key, ".")
	return slices.Contains([]string{"positional_embedding", "text_projection", "token_embedding", "transformer", "ln_final", "cls_emb"}, first)
}

// fitPositions has position embeddings of another grid of patches or another context length resampled to the model's,
// as open_clip does on loading (src/open_clip/model.py resize_pos_embed, resize_text_pos_embed), and tells it.
func (m *Model) fitPositions(key string, w weight, p *torch.Tensor) (weight, string) {
	from, to := w.parts[0].Shape, p.Shape()
	if len(from) != 2 || len(to) != 2 || from[1] != to[1] || from[0] == to[0] {
		return w, ""
	}
	text, ofText := m.Text.(*tower.Text)
	switch {
	case key == "visual.positional_embedding": // a ResNet's and timm's have other keys, and open_clip leaves them alone
		side := squareRoot(from[0] - 1)
		if side == 0 { // no square grid behind a class token
			return w, ""
		}
		rows, columns := m.Config.Vision.Grid()
		w.resize = func(t *torch.Tensor) *torch.Tensor {
			return tower.ResizeImagePositions(t, 1, side, side, rows, columns)
		}
		return w, positionsNote("patches", from[0]-1, to[0]-1)
	case ofText && text.ClassEmbedding == nil && strings.TrimPrefix(key, "text.") == "positional_embedding":
		w.resize = func(t *torch.Tensor) *torch.Tensor { return tower.ResizeTextPositions(t, to[0]) }
		return w, positionsNote("tokens", from[0], to[0])
	}
	return w, ""
}

func positionsNote(of string, from, to int) string {
	return fmt.Sprintf("the position embeddings of %d %s were resampled to %d", from, of, to)
}
