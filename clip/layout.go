package clip

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// layout tells of which tensors of a file a weight is made, by the weight's key, for files of other libraries. It
// serves both directions: reading joins the rows, writing parts them. A key that the layout does not have gives the
// zero source.
type layout func(key string) source

// source is what makes up one weight.
type source struct {
	rows       []rows // one below the other
	transposed bool
	reshaped   bool // the file's has the same numbers in fewer dimensions
}

// rows are one of several equal parts of a tensor's first dimension.
type rows struct {
	name     string
	part, of int
}

func whole(name string) source { return source{rows: []rows{{name, 0, 1}}} }

func transposed(name string) source { return source{rows: []rows{{name, 0, 1}}, transposed: true} }

// weight is what a file has for one of the model's tensors.
type weight struct {
	parts      []checkpoint.Entry // one below the other
	transposed bool
	reshaped   bool
	resize     func(*torch.Tensor) *torch.Tensor // of position embeddings for another grid
	zero       bool                              // the file has none and zeros stand for it
}

// shape is the shape of the parts together.
func (w weight) shape() []int {
	shape := slices.Clone(w.parts[0].Shape)
	for _, p := range w.parts[1:] {
		shape[0] += p.Shape[0]
	}
	if w.transposed {
		slices.Reverse(shape)
	}
	return shape
}

// find reads a weight off the tensors of a file; problems say what is in the way.
func (s source) find(tensors map[string]checkpoint.Entry) (w weight, problems []string) {
	w.transposed, w.reshaped = s.transposed, s.reshaped
	for _, r := range s.rows {
		e, ok := tensors[r.name]
		switch {
		case !ok:
			problems = append(problems, "missing "+r.name)
			continue
		case len(s.rows) > 1 && len(e.Shape) == 0, r.of > 1 && (len(e.Shape) == 0 || e.Shape[0]%r.of != 0):
			problems = append(problems, fmt.Sprintf("%s has the shape %v, which cannot be put together with others", r.name, e.Shape))
			continue
		case s.transposed && len(e.Shape) != 2:
			problems = append(problems, fmt.Sprintf("%s has the shape %v; it must be a matrix", r.name, e.Shape))
			continue
		}
		if r.of > 1 {
			n := e.Shape[0] / r.of
			e = e.Rows(r.part*n, (r.part+1)*n)
		}
		if len(w.parts) > 0 && !slices.Equal(e.Shape[1:], w.parts[0].Shape[1:]) {
			problems = append(problems, fmt.Sprintf("%s has the shape %v, and does not fit under one of %v", r.name, e.Shape, w.parts[0].Shape))
			continue
		}
		w.parts = append(w.parts, e)
	}
	return w, problems
}

// match looks up each of the model's tensors in a file: those that it has; for each other key what is missing or in the
// way; and the file's names that no key asks for.
func (names layout) match(all map[string]checkpoint.Entry, state iter.Seq2[string, *torch.Tensor]) (found map[string]weight, missing map[string][]string, unexpected []string) {
	found, missing = map[string]weight{}, map[string][]string{}
	used := map[string]bool{}
	for key := range state {
		s := names(key)
		for _, r := range s.rows {
			used[r.name] = true
		}
		w, problems := s.find(all)
		switch {
		case len(s.rows) == 0:
			missing[key] = []string{"missing " + key}
		case len(problems) > 0:
			missing[key] = problems
		default:
			found[key] = w
		}
	}
	for name := range all {
		if !used[name] {
			unexpected = append(unexpected, name)
		}
	}
	return found, missing, unexpected
}

// fill makes p of the weight, whose shape has been compared: with share by sharing the file's pages
// where it can.
func (w weight) fill(f *checkpoint.File, p *torch.Tensor, share bool) error {
	if w.zero {
		return torch.NoGrad(func(s *torch.Scope) { s.Alias(p).Fill(0) })
	}
	if w.transposed || w.resize != nil {
		return torch.NoGrad(func(s *torch.Scope) {
			x := w.parts[0].Tensor(s).To(torch.CPU, torch.Float32)
			if w.transposed {
				x = x.T()
			}
			if w.resize != nil {
				x = w.resize(x)
			}
			s.Alias(p).CopyFrom(x)
		})
	}
	if len(w.parts) == 1 {
		e := w.parts[0]
		e.Shape = p.Shape() // which may have other ones in it
		if share {
			if done, err := f.Share(e, p); done || err != nil {
				return err
			}
		}
		return f.CopyTo(e, p)
	}
	at := 0
	for _, e := range w.parts {
		var part *torch.Tensor
		if err := torch.NoGrad(func(s *torch.Scope) { part = s.Alias(p).Narrow(0, at, e.Shape[0]).Keep() }); err != nil {
			return err
		}
		err := f.CopyTo(e, part)
		part.Free()
		if err != nil {
			return err
		}
		at += e.Shape[0]
	}
	return nil
}

// fits compares the shape of a tensor of the model.
func (w weight) fits(shape []int) bool {
	own := w.shape()
	if w.reshaped && len(own) == 2 && len(shape) > 0 {
		return own[1] == shape[len(shape)-1] && own[0]*own[1] == product(shape)
	}
	return sameShape(own, shape)
}

func product(shape []int) int {
	n := 1
	for _, size := range shape {
		n *= size
	}
	return n
}

// sameShape compares shapes but for ones: a temperature of shape (1) is one of shape (), and position embeddings of
// shape (N, W) are those of shape (1, N, W).
func sameShape(a, b []int) bool {
	one := func(n int) bool { return n == 1 }
	return slices.Equal(slices.DeleteFunc(slices.Clone(a), one), slices.DeleteFunc(slices.Clone(b), one))
}

// wrappers are the prefixes of modules around a model: DistributedDataParallel's, and the fields in which Lightning's
// modules and means of the weights most often hold one.
var wrappers = []string{"module.", "model.", "ema_model."}

// unwrapped is how many bytes of wrappers all names of a file begin with, one inside the other.
func unwrapped(names []string) (cut int) {
	for len(names) > 0 {
		at := slices.IndexFunc(wrappers, func(prefix string) bool {
			return !slices.ContainsFunc(names, func(name string) bool { return !strings.HasPrefix(name[cut:], prefix) })
		})
		if at < 0 {
			break
		}
		cut += len(wrappers[at])
	}
	return cut
}

// altCLIP are names of an AltCLIPModel in the place of a ChineseCLIPModel's; the second is transformers 5's, which renames
// the encoder of the texts on saving, and of the images with it.
var altCLIP = [][2]string{{"text_model.roberta.", "text_model."}, {"vision_model.encoder.layer.", "vision_model.encoder.layers."}}

// tensors are a file's weights by name, without the prefixes of wrappers and without what is not a weight: the
// three numbers of OpenAI's archives, masks and position ids that follow from the config (open_clip 3.3.0
// src/open_clip/factory.py load_state_dict, load_checkpoint). Of transformers' CLIPSeg they are its CLIP's. Two names that
// become one stay, to be told of.
func tensors(f *checkpoint.File) map[string]checkpoint.Entry {
	all := map[string]checkpoint.Entry{}
	_, segments := f.Entry("clip.logit_scale")
	var keys []string
	for _, name := range f.Names() {
		keys = append(keys, strings.ReplaceAll(name, "_orig_mod.", "")) // torch.compile's, around a model or a part of it
	}
	cut := unwrapped(keys)
	for i, name := range f.Names() {
		e, _ := f.Entry(name)
		key := strings.TrimPrefix(keys[i][cut:], "module.")
		for _, of := range altCLIP {
			if rest, ok := strings.CutPrefix(key, of[0]); ok {
				key = of[1] + rest
			}
		}
		if segments {
			if strings.HasPrefix(key, "decoder.") {
				continue
			}
			key = strings.TrimPrefix(key, "clip.")
		}
		last := key[strings.LastIndexByte(key, '.')+1:]
		if slices.Contains([]string{"input_resolution", "context_length", "vocab_size"}, key) || last == "attn_mask" || last == "position_ids" ||
			strings.HasSuffix(key, "embed_positions.weights") { // an M2M100's waves, as transformers 4 saved them
			continue
		}
		if _, twice := all[key]; twice {
			key = name
		}
		all[key] = e
	}
	return all
}
