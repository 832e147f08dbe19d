package evaluate

import (
	"context"
	"errors"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train/data"
)

// ErrUnreadable says that no image of a data set can be read.
var ErrUnreadable = errors.New("none of its images can be read")

// Pairs are images with captions, ready to evaluate retrieval.
type Pairs struct {
	*data.Loader
	Set data.Dataset
	o   Options
}

// NewPairs makes d ready for models that take the images and tokens of m.
func NewPairs(ctx context.Context, m *clip.Model, d data.Dataset, o *Options) (*Pairs, error) {
	p := &Pairs{Set: d, o: o.filled()}
	var err error
	p.Loader, err = newLoader(ctx, m, d, p.o, true)
	return p, err
}

// Retrieval is how well images and texts find each other.
type Retrieval struct {
	Images, Texts int     // that were read
	Repeated      int     // texts that are equal to an earlier one, or images of one ID
	Loss          float64 // the mean of the batches' contrastive losses, of the first captions

	// Own judges by the pairs of the data alone, as open_clip and CLIP_benchmark do.
	Own Ranks
	// Equal judges equal captions as equal: what fits a text are all images that have the same
	// caption, and what fits an image are all texts that are equal to one of its own. Images of one
	// ID, or of one class, have their captions in common.
	Equal Ranks
}

// Metrics returns the figures under open_clip's names: those of the ranks, clip_val_loss and
// num_samples. equal chooses [Retrieval.Equal].
func (r *Retrieval) Metrics(equal bool) Metrics {
	ranks := r.Own
	if equal {
		ranks = r.Equal
	}
	metrics := ranks.Metrics()
	metrics["clip_val_loss"], metrics["num_samples"] = r.Loss, float64(r.Images)
	return metrics
}

// Retrieval evaluates m. When ctx ends, its error is returned.
func (p *Pairs) Retrieval(ctx context.Context, m *clip.Model) (*Retrieval, error) {
	f := Features{Dim: m.Dim()}
	var captions [][]string
	var ids []int64
	total := 0.0
	err := batches(ctx, p.Loader, p.o, func(b *data.Batch) error {
		images, err := m.ImageFeatures(b.Pixels, b.N)
		if err != nil {
			return err
		}
		texts, err := m.TextFeatures(b.Tokens, b.N)
		if err != nil {
			return err
		}
		f.Images, f.Texts = append(f.Images, images...), append(f.Texts, texts...)
		captions, ids = append(captions, b.Texts...), append(ids, b.ImageIDs...)
		return torch.NoGrad(func(s *torch.Scope) {
			scale := s.Alias(m.LogitScale).To(torch.CPU, torch.Float32).Exp()
			total += loss.Contrastive(torch.FromSlice(s, images, b.N, f.Dim), torch.FromSlice(s, texts, b.N, f.Dim), scale).Item() * float64(b.N)
		})
	})
	if err != nil {
		return nil, err
	}
	n := len(captions)
	if n == 0 {
		return nil, ErrUnreadable
	}
	if err := p.allCaptions(ctx, m, captions, &f); err != nil {
		return nil, err
	}
	r := &Retrieval{Images: n, Texts: len(f.Texts) / f.Dim, Loss: total / float64(n)}
	own, err := f.own()
	if err != nil {
		return nil, err
	}
	if r.Own, err = f.ranks(own); err != nil {
		return nil, err
	}
	equal, repeated := equals(captions, ids)
	if r.Repeated, r.Equal = repeated, r.Own; repeated > 0 {
		r.Equal, err = f.ranks(equal)
	}
	return r, err
}

// allCaptions replaces the features of the first captions by those of all, where images have
// several.
func (p *Pairs) allCaptions(ctx context.Context, m *clip.Model, captions [][]string, f *Features) error {
	var all []string
	for i, own := range captions {
		for _, c := range own {
			all, f.Of = append(all, c), append(f.Of, i)
		}
	}
	if len(all) == len(captions) {
		return nil
	}
	f.Texts = f.Texts[:0]
	for chunk := range slices.Chunk(all, p.o.BatchSize) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		ids, _, err := m.Tokenize(ctx, chunk...)
		if err != nil {
			return err
		}
		rows, err := m.TextFeatures(ids, len(chunk))
		if err != nil {
			return err
		}
		f.Texts = append(f.Texts, rows...)
	}
	return nil
}

// equals are the matches where equal captions are equal, and images of one of ids are the same; the
// texts are those of captions one after the other. repeated counts texts that are equal to an
// earlier one and images whose ID an earlier one has. Lists are shared.
func equals(captions [][]string, ids []int64) (m matches, repeated int) {
	group := map[int64]int{} // of images, by their ID
	var members [][]int      // images of each group
	var own []map[string]bool
	texts := map[string][]int{} // places of each caption
	var order []string          // captions of the texts
	for i, list := range captions {
		g, known := group[ids[i]]
		if !known {
			g = len(members)
			group[ids[i]], members, own = g, append(members, nil), append(own, map[string]bool{})
		} else {
			repeated++
		}
		members[g] = append(members[g], i)
		for _, c := range list {
			if len(texts[c]) > 0 {
				repeated++
			}
			texts[c], order = append(texts[c], len(order)), append(order, c)
			own[g][c] = true
		}
	}
	images := map[string][]int{} // that have each caption
	m = matches{make([][]int, len(captions)), make([][]int, 0, len(order))}
	for g, list := range members {
		var fit []int
		for c := range own[g] {
			images[c] = append(images[c], list...)
			if len(own[g]) == 1 {
				fit = texts[c]
			} else {
				fit = append(fit, texts[c]...)
			}
		}
		if len(own[g]) > 1 {
			slices.Sort(fit)
		}
		for _, i := range list {
			m.texts[i] = fit
		}
	}
	for _, list := range images {
		slices.Sort(list)
	}
	for _, c := range order {
		m.images = append(m.images, images[c])
	}
	return m, repeated
}
