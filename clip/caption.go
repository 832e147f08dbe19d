package clip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// CaptionOptions say how [Model.Caption] searches. The zero value is open_clip's default.
type CaptionOptions struct {
	Beams     int // captions that are kept beside each other; 1 takes the likeliest word each time; 2 if 0
	MaxTokens int // of a caption, with the start and end tokens; 30 if 0
	MinTokens int // before the end token may follow; 5 if 0

	Limits preprocess.Limits // of decoding the images; its Orient turns them upright
}

func (o *CaptionOptions) complete(m *Model) (CaptionOptions, error) {
	c := CaptionOptions{}
	if o != nil {
		c = *o
	}
	c.Beams, c.MaxTokens, c.MinTokens = cmp.Or(c.Beams, 2), cmp.Or(c.MaxTokens, 30), cmp.Or(c.MinTokens, 5)
	switch {
	case c.Beams < 1 || c.Beams > 64:
		return c, fmt.Errorf("clip: Beams %d: must be between 1 and 64", c.Beams)
	case c.MaxTokens < 3 || c.MaxTokens > m.ContextLength():
		return c, fmt.Errorf("clip: MaxTokens %d: must be between 3 and the context length, %d", c.MaxTokens, m.ContextLength())
	case c.MinTokens < 1 || c.MinTokens >= c.MaxTokens:
		return c, fmt.Errorf("clip: MinTokens %d: must be between 1 and MaxTokens - 1, %d", c.MinTokens, c.MaxTokens-1)
	}
	return c, nil
}

// Caption writes a sentence for each image, which a CoCa alone can (Yu et al., arXiv 2205.01917): the tokens are those of
// open_clip's generate. Of open_clip's six beams in three groups, which all find the same, the two of a group are the
// default. An image that cannot be read is an [*ImageError]; a model without a decoder is ErrUnsupported.
func (m *Model) Caption(ctx context.Context, o *CaptionOptions, images ...ImageSource) ([]string, error) {
	if err := begun(ctx); err != nil {
		return nil, err
	}
	text, ofText := m.Text.(*tower.Text)
	image, ofImage := m.Visual.(*tower.ViT)
	if m.Decoder == nil || !ofText || !ofImage {
		return nil, marked{fmt.Errorf("clip: %s writes no captions: a CoCa does, such as coca_ViT-B-32:mscoco_finetuned_laion2b_s13b_b90k", m.Name), ErrUnsupported}
	}
	options, err := o.complete(m)
	if err != nil {
		return nil, err
	}
	words, err := m.Tokenizer(ctx)
	if err != nil {
		return nil, err
	}
	transform, err := m.Transform()
	if err != nil {
		return nil, err
	}
	transform = transform.WithLimits(options.Limits)
	frame, _ := words.Tokenize("", 2)
	size := m.Config.Vision.PixelSize()
	captions := make([]string, 0, len(images))
	for i, source := range images {
		pixels := make([]float32, transform.Len())
		if _, _, err := transform.Source(ctx, pixels, source); err != nil {
			return nil, &ImageError{i, err}
		}
		w := &writer{CaptionOptions: options, text: text, decoder: m.Decoder, start: frame[0], end: frame[1], pad: int64(m.Config.Text.PadID)}
		var ids []int
		err := m.inTurn(ctx, func() error {
			var stopped error
			failed := torch.NoGrad(func(s *torch.Scope) {
				x := torch.FromSlice(s, pixels, 1, 3, size.Height, size.Width).To(m.Device(), m.dtype())
				ids, stopped = w.write(ctx, image.Tokens(x))
			})
			return errors.Join(failed, stopped)
		})
		if err != nil {
			return nil, err
		}
		captions = append(captions, strings.TrimSpace(words.Decode(ids)))
	}
	return captions, nil
}

// writer writes the caption of one image.
type writer struct {
	CaptionOptions
	text            *tower.Text
	decoder         *tower.Decoder
	start, end, pad int64
	image           *torch.Tensor
	writing         *tower.Writing
}

// write is the caption's ids, without the start and end tokens.
func (w *writer) write(ctx context.Context, image *torch.Tensor) ([]int, error) {
	w.image = image
	if w.writing = w.decoder.Write(w.text, w.decoder.See(image), w.Beams, w.MaxTokens); w.writing == nil {
		return nil, marked{errors.New("clip: captions need a causal text tower with embed_cls"), ErrUnsupported}
	}
	find := w.beams
	if w.Beams == 1 {
		find = w.greedy
	}
	ids, err := find(ctx)
	var caption []int
	for _, id := range ids {
		if id != w.start && id != w.end {
			caption = append(caption, int(id))
		}
	}
	return caption, err
}

// next are the logits of the token that follows each text. Of the texts, the last tokens are new, and the others those of
// the texts before at the places of.
func (w *writer) next(texts [][]int64, of []int64) [][]float32 {
	last := make([]int64, len(texts))
	for i, text := range texts {
		last[i] = text[len(text)-1]
	}
	var flat []float32
	_ = torch.Tidy(func(x *torch.Tensor) *torch.Tensor {
		if len(of) > 1 {
			w.writing.Keep(torch.FromSliceLike(x, of, len(of)))
		}
		y := w.writing.Next(torch.FromSliceLike(x, last, len(last), 1))
		flat = torch.ToSlice[float32](y.To(y.Device(), torch.Float32))
		return y
	}, w.image)
	rows := slices.Collect(slices.Chunk(flat, len(flat)/len(texts)))
	if len(texts[0]) < w.MinTokens {
		for _, row := range rows {
			row[w.end] = float32(math.Inf(-1))
		}
	}
	return rows
}

// greedy takes the likeliest token each time (open_clip's generation_type "top_k" with top_k 1).
func (w *writer) greedy(ctx context.Context) ([]int64, error) {
	ids := []int64{w.start}
	for len(ids) < w.MaxTokens {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		logits := w.next([][]int64{ids}, nil)[0]
		best := 0
		for id, x := range logits {
			if x > logits[best] {
				best = id
			}
		}
		if len(ids)+1 == w.MaxTokens {
			best = int(w.end)
		}
		ids = append(ids, int64(best))
		if int64(best) == w.end || int64(best) == w.pad {
			break
		}
	}
	return ids, nil
}

// beam is a text that is being written, with the sum of its tokens' logits.
type beam struct {
	ids   []int64
	score float32
}

// finished is a text with its score for each token.
type finished struct {
	ids   []int64
	score float64
}

// beams is transformers' BeamSearchScorer over logits, as open_clip calls it (coca_model.py _generate_beamsearch).
func (w *writer) beams(ctx context.Context) ([]int64, error) {
	open := make([]beam, w.Beams)
	for i := range open {
		open[i] = beam{[]int64{w.start}, -1e9} // so that the first step does not find every text as often
	}
	open[0].score = 0
	var ended []finished
	worst := 1e9
	end := func(ids []int64, score float64) {
		switch {
		case len(ended) < w.Beams:
			ended = append(ended, finished{ids, score})
			worst = min(worst, score)
		case score > worst:
			ended = append(ended, finished{ids, score})
			low := 0
			for i, f := range ended {
				if f.score < ended[low].score {
					low = i
				}
			}
			ended = slices.Delete(ended, low, low+1)
			worst = slices.MinFunc(ended, func(a, b finished) int { return cmp.Compare(a.score, b.score) }).score
		}
	}
	done := false
	var of []int64 // which of the texts before each of the open ones continues
	for !done && len(open[0].ids) < w.MaxTokens {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		texts := make([][]int64, len(open))
		for i, b := range open {
			texts[i] = b.ids
		}
		length := float64(len(open[0].ids) + 1)
		candidates := likeliest(w.next(texts, of), open, 2*w.Beams)
		var going []beam
		of = nil
		for rank, c := range candidates {
			switch {
			case len(going) == w.Beams:
			case c.token != w.end:
				going, of = append(going, beam{append(slices.Clone(open[c.of].ids), c.token), c.score}), append(of, int64(c.of))
			case rank < w.Beams:
				end(open[c.of].ids, float64(c.score)/length)
			}
		}
		done = len(ended) >= w.Beams && worst >= float64(candidates[0].score)/length
		open = going
	}
	if !done {
		for _, b := range open {
			end(b.ids, float64(b.score)/float64(len(b.ids)))
		}
	}
	best := ended[0]
	for _, f := range ended {
		if f.score >= best.score {
			best = f
		}
	}
	return best.ids, nil
}

// candidate is a token behind one of the open texts.
type candidate struct {
	of    int
	token int64
	score float32
}

// likeliest are the n best tokens behind any of the texts, the best one first.
func likeliest(logits [][]float32, open []beam, n int) (best []candidate) {
	for of, row := range logits {
		for token, x := range row {
			c := candidate{of, int64(token), x + open[of].score}
			if len(best) == n && c.score <= best[n-1].score {
				continue
			}
			at := len(best)
			for at > 0 && best[at-1].score < c.score {
				at--
			}
			best = slices.Insert(best, at, c)
			best = best[:min(len(best), n)]
		}
	}
	return best
}
