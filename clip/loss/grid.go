package loss

import "github.com/goclip/goclip/torch"

// What the losses in tiles do in place, so that a tile's memory is used again and again.
var (
	opNewZeros = torch.NewOp("aten::new_zeros")
	opNewFull  = torch.NewOp("aten::new_full")
	opMM       = torch.NewOp("aten::mm.out")
	opAddMM    = torch.NewOp("aten::addmm_")
	opAdd      = torch.NewOp("aten::add_.Tensor")
	opSub      = torch.NewOp("aten::sub_.Tensor")
	opMul      = torch.NewOp("aten::mul_.Tensor")
	opExp      = torch.NewOp("aten::exp_")
	opDiagonal = torch.NewOp("aten::diagonal")
	opOr       = torch.NewOp("aten::logical_or_")
)

// grid is the logits of some images and some texts, of which only a tile is ever there.
type grid struct{ rows, cols side }

// side is the rows or the columns of a grid: n features of one tower.
type side struct {
	features *torch.Tensor   // (n, E)
	teacher  *torch.Tensor   // (n, E') the teacher's; nil without
	ids      []*torch.Tensor // (n) int64: of the pairs' images, of their captions, as far as they are given
	at       int             // where the first stands among all N
	// (n, E) the gradients of the features, without the factors that all have in common. nil: another process's, or the
	// other grid's
	gradient *torch.Tensor

	ours, teachers softmax       // over the other side
	matches        *torch.Tensor // (n) float64: how many of the other side match, by ids; nil without
}

// span is a run of a side's features.
type span struct{ at, n int }

func (p span) of(t *torch.Tensor) *torch.Tensor { return t.Narrow(0, p.at, p.n) }

func spans(n, tile int) []span {
	var out []span
	for at := 0; at < n; at += tile {
		out = append(out, span{at, min(tile, n-at)})
	}
	return out
}

// tiles computes on grids, a tile at a time. One process has a grid of its images and its texts, which serves the gradients
// of both. Several have two each: its images with all texts, and its texts with all images. Each then has all that the
// gradients of its own features need, and no gradient travels.
type tiles struct {
	scope               *torch.Scope // of the whole loss: no gradients are recorded and no product is cast
	dtype               torch.DType
	k, n                int // pairs of this process and of all
	edge                int // the rows and the columns of a tile
	scale, teacherScale *torch.Tensor
	bias                *torch.Tensor // nil: 0
	grids               []*grid
	buffers             []*torch.Tensor // flat, of the size of a tile
	held                block           // whose logits lie in the buffers
}

// block says which tile of which grid.
type block struct {
	grid       *grid
	rows, cols span
}

// The buffers of a tile.
const (
	logitsBuffer = iota
	workBuffer
	targetsBuffer // of ids or a teacher
	teacherBuffer
)

// tilesFor gathers the features and lays out the grids. out is where the gradients go.
func tilesFor(s *torch.Scope, p Pairs, g Gatherer, edge int, out Gradient) *tiles {
	t := &tiles{scope: s, dtype: computeType(p.Images), k: p.Images.Size(0), edge: edge}
	if t.edge == 0 {
		t.edge = edgeFor(p)
	}
	number := func(x *torch.Tensor) *torch.Tensor { return s.Alias(x).To(p.Images.Device(), t.dtype) }
	t.scale = number(p.Scale)
	if p.Bias != nil {
		t.bias = number(p.Bias)
	}
	images := side{features: s.Alias(p.Images), gradient: s.Alias(out.Images)}
	texts := side{features: s.Alias(p.Texts), gradient: s.Alias(out.Texts)}
	if p.Teacher != nil {
		images.teacher, texts.teacher = s.Alias(p.Teacher.Images), s.Alias(p.Teacher.Texts)
		t.teacherScale = number(p.Teacher.Scale)
	}
	for _, ids := range []*torch.Tensor{p.ImageIDs, p.TextIDs} {
		if ids != nil {
			images.ids = append(images.ids, s.Alias(ids))
		}
	}
	texts.ids = images.ids
	if g == nil || g.Size() == 1 {
		t.n, t.grids = t.k, []*grid{{rows: images, cols: texts}}
	} else {
		t.n = t.k * g.Size()
		images.at = g.Rank() * t.k
		texts.at = images.at
		allImages, allTexts := images.gather(g), texts.gather(g)
		for i, ids := range images.ids {
			all := g.AllGather(ids)
			allImages.ids[i], allTexts.ids[i] = all, all
		}
		t.grids = []*grid{{rows: images, cols: allTexts}, {rows: texts, cols: allImages}}
	}
	buffers := workBuffer + 1
	if p.Teacher != nil {
		buffers = teacherBuffer + 1
	} else if len(images.ids) > 0 {
		buffers = targetsBuffer + 1
	}
	for range buffers {
		t.buffers = append(t.buffers, torch.Empty(s, p.Images.Device(), t.dtype, min(t.edge, t.k)*min(t.edge, t.n)))
	}
	return t
}

// gather is the features of all processes on this side; the caller gathers the ids.
func (a *side) gather(g Gatherer) side {
	all := side{features: g.AllGather(a.features), ids: make([]*torch.Tensor, len(a.ids))}
	if a.teacher != nil {
		all.teacher = g.AllGather(a.teacher)
	}
	return all
}

// edgeFor is how many rows and columns a tile has unless the caller says. The two buffers of 2048 x 2048 are 32 MiB. On two cores
// 512 to 2048 take the same processor time, and fewer, larger steps wait less for a thread that others keep from running.
func edgeFor(p Pairs) int {
	switch {
	case p.Images.Device().Type == "cuda":
		return 4096
	case p.ImageIDs != nil || p.TextIDs != nil || p.Teacher != nil:
		return 1024 // up to four buffers, and the masks
	default:
		return 2048
	}
}

// each calls f for every tile of a grid, in a scope that frees what f makes.
func (t *tiles) each(g *grid, backwards bool, f func(s *torch.Scope, at block)) {
	var all []block
	for _, rows := range spans(g.rows.features.Size(0), t.edge) {
		for _, cols := range spans(g.cols.features.Size(0), t.edge) {
			all = append(all, block{g, rows, cols})
		}
	}
	for i := range all {
		if backwards {
			i = len(all) - 1 - i
		}
		t.scope.NoGrad(func(s *torch.Scope) { f(s, all[i]) })
	}
}

// buffer is one of the buffers as the (rows, columns) of a tile.
func (t *tiles) buffer(s *torch.Scope, which int, at block) *torch.Tensor {
	return s.Alias(t.buffers[which]).Narrow(0, 0, at.rows.n*at.cols.n).View(at.rows.n, at.cols.n)
}

// logits are the tile's, and the teacher's or nil. The last tile of a sweep is the first of the next one backwards and need
// not be computed again, so that a batch of one tile costs the products of plain autograd.
func (t *tiles) logits(s *torch.Scope, at block) (logits, teacher *torch.Tensor) {
	product := func(which int, rows, cols, scale *torch.Tensor) *torch.Tensor {
		out := t.buffer(s, which, at)
		if t.held != at {
			x, y := t.convert(at.rows.of(s.Alias(rows))), t.convert(at.cols.of(s.Alias(cols)))
			opMM.Run(s, x.Mul(scale), y.T(), out)
		}
		return out
	}
	r, c := &at.grid.rows, &at.grid.cols
	logits = product(logitsBuffer, r.features, c.features, t.scale)
	if r.teacher != nil {
		teacher = product(teacherBuffer, r.teacher, c.teacher, t.teacherScale)
	}
	t.held = at
	return logits, teacher
}

func (t *tiles) convert(features *torch.Tensor) *torch.Tensor {
	return features.To(features.Device(), t.dtype)
}

// diagonal is the tile's logits of pairs, (d), or nil where it has none.
func diagonal(m *torch.Tensor, at block) *torch.Tensor {
	offset := at.grid.rows.at + at.rows.at - at.grid.cols.at - at.cols.at
	if offset <= -at.rows.n || offset >= at.cols.n {
		return nil
	}
	return opDiagonal.Call(m, offset)
}

// matching is true where the tile's image and text match by their ids: (rows, columns).
func matching(s *torch.Scope, at block) *torch.Tensor {
	var mask *torch.Tensor
	for i, ids := range at.grid.rows.ids {
		equal := at.rows.of(s.Alias(ids)).Unsqueeze(1).Eq(at.cols.of(s.Alias(at.grid.cols.ids[i])))
		if mask == nil {
			mask = equal
		} else {
			opOr.Run(s, mask, equal)
		}
	}
	return mask
}

// backward adds what the gradient of the tile's logits means for the features: gradient @ texts to images, and
// gradient^T @ images to texts, where the columns are this process's too.
func (t *tiles) backward(s *torch.Scope, at block, gradient *torch.Tensor) {
	r, c := &at.grid.rows, &at.grid.cols
	opAddMM.Run(s, at.rows.of(s.Alias(r.gradient)), gradient, t.convert(at.cols.of(s.Alias(c.features))))
	if c.gradient != nil {
		opAddMM.Run(s, at.cols.of(s.Alias(c.gradient)), gradient.T(), t.convert(at.rows.of(s.Alias(r.features))))
	}
}

// finish brings the gradients to their factors, logits being scale * similarity, and gives what they say of the scale: as
// dL/dx_i = scale * sum_j g_ij y_j, dL/dscale = sum_ij g_ij x_i.y_j is the product of features and gradients before the factor.
func (t *tiles) finish(out Gradient, factor float64) {
	rows := &t.grids[0].rows
	total := t.zero()
	for _, part := range spans(t.k, t.edge) {
		t.scope.NoGrad(func(s *torch.Scope) {
			x, g := t.convert(part.of(s.Alias(rows.features))), part.of(s.Alias(rows.gradient))
			opAdd.Run(s, s.Alias(total), total64(g.Mul(x)))
		})
	}
	t.scope.Alias(out.Scale).CopyFrom(total.MulScalar(factor))
	scale := t.scale.MulScalar(factor)
	for _, gradient := range []*torch.Tensor{out.Images, out.Texts} {
		opMul.Run(t.scope, t.scope.Alias(gradient), scale)
	}
}

// zero is a sum's beginning. Sums over tiles are float64.
func (t *tiles) zero() *torch.Tensor {
	return torch.Zeros(t.scope, t.scale.Device(), torch.Float64)
}

// total64 is the sum of a matrix: of each row in its type, of those in float64.
func total64(m *torch.Tensor) *torch.Tensor { return m.SumDim(1).To(m.Device(), torch.Float64).Sum() }

// exactly runs f without recording gradients and without autocast, whatever the features' scope does.
func exactly(f func(s *torch.Scope)) {
	if err := torch.NoGrad(f); err != nil {
		panic(err) // an operator's *torch.Error, on its way to the Do around the features
	}
}
