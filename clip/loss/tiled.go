package loss

import "github.com/goclip/goclip/torch"

// TiledContrastive is [Contrastive] of the N pairs of all processes with its gradients, without ever holding the N x N
// logits s_ij = scale * images_i . texts_j. With r_i and c_j the log-sum-exp of row i and of column j it is
//
//	L = 1/(2N) sum_i (r_i - mean_{j in P(i)} s_ij) + 1/(2N) sum_j (c_j - mean_{i in P(j)} s_ij)
//	dL/ds_ij = 1/(2N) (exp(s_ij - r_i) + exp(s_ij - c_j) - [j in P(i)] (1/|P(i)| + 1/|P(j)|))
//
// P(i) is i alone or, with ids, all j that have the image or the caption of i: the target is uniform over the matches, as in
// supervised contrastive learning (Khosla et al., arXiv 2004.11362, L_out) and UniCL (Yang et al., arXiv 2204.03610).
//
// A teacher adds the cross-entropies between its softmax over rows, and over columns, and ours: the mean over rows of either,
// halved, and added to the above with weight 1 (open_clip src/open_clip/loss.py DistillClipLoss, whose two losses
// open_clip_train/train.py sums).
//
// A first sweep over tiles of tile x tile logits gathers r and c, a second computes the tiles again and their gradients, as
// flash attention does. tile 0 chooses. Each process sweeps its images against all texts and its texts against all images;
// only features and a few numbers for each pair travel, and no gradient does. Logits and sums are float32 or better (float64
// for float64 features), also under autocast. Nothing waits for the device. It runs in torch.Do, panics with *torch.Error, and the
// results belong to the scope of p.Images; [torch.Tensor.BackwardFrom] takes the gradients on. The gradient of Bias is 0.
func TiledContrastive(p Pairs, g Gatherer, tile int) Gradient {
	p.check("contrastive_loss", g, tile)
	out := p.result()
	exactly(func(s *torch.Scope) {
		c := &contrastive{tiles: tilesFor(s, p, g, tile, out), weight: 1}
		c.cross = c.zero()
		if p.Teacher != nil {
			c.weight = 2 // a cross-entropy with the matches and one with the teacher
		}
		for _, grid := range c.grids {
			c.sums(grid)
		}
		c.share(g)
		for i := range c.grids {
			c.gradient(c.grids[len(c.grids)-1-i])
		}
		// L = 1/(2N) (weight * sum_i r_i + weight * sum_j c_j - sum_ij targets_ij s_ij)
		images, texts := c.own()
		sums := images.ours.logSumExp().Sum().Add(texts.ours.logSumExp().Sum())
		factor := 1 / float64(2*c.n)
		s.Alias(out.Loss).CopyFrom(sums.MulScalar(c.weight).Sub(c.cross).MulScalar(factor))
		c.finish(out, factor)
	})
	return out
}

// contrastive is TiledContrastive at work.
type contrastive struct {
	*tiles
	weight float64       // how many softmaxes of a row the loss has: the sum of a row's targets
	cross  *torch.Tensor // () float64: the sum of targets times logits over this process's images and all texts
}

// own is the sides of this process's images and texts.
func (c *contrastive) own() (images, texts *side) {
	if len(c.grids) == 1 {
		return &c.grids[0].rows, &c.grids[0].cols
	}
	return &c.grids[0].rows, &c.grids[1].rows
}

// sums sweeps over a grid for the softmaxes of its rows, and of its columns where they are this process's.
func (c *contrastive) sums(g *grid) {
	sides := []*side{&g.cols, &g.rows} // at the dim of their softmax
	if g.cols.gradient == nil {
		sides[0] = nil
	}
	for _, x := range sides {
		if x == nil {
			continue
		}
		n := x.features.Size(0)
		x.ours = c.softmax(n)
		if x.teacher != nil {
			x.teachers = c.softmax(n)
		}
	}
	counts := g == c.grids[0] && g.rows.ids != nil // image i has as many matches as text i
	if counts {
		g.rows.matches = torch.Zeros(c.scope, c.scale.Device(), torch.Float64, c.k)
	}
	c.each(g, false, func(s *torch.Scope, at block) {
		logits, teacher := c.logits(s, at)
		work := c.buffer(s, workBuffer, at)
		for dim, part := range []span{at.cols, at.rows} {
			x := sides[dim]
			if x == nil {
				continue
			}
			x.ours.add(s, part, logits, work, dim)
			if teacher != nil {
				x.teachers.add(s, part, teacher, work, dim)
			}
		}
		if counts {
			opAdd.Run(s, at.rows.of(s.Alias(g.rows.matches)), matching(s, at).SumDim(1))
		}
	})
}

// share gives the columns of each grid what the processes have found about them.
func (c *contrastive) share(g Gatherer) {
	images, texts := c.own()
	if texts.matches = images.matches; len(c.grids) == 2 {
		all := images.matches
		if all != nil {
			all = g.AllGather(all)
		}
		for i, own := range []*side{texts, images} { // the other grid's rows
			x := &c.grids[i].cols
			x.ours, x.matches = own.ours.gather(g), all
			if x.teacher != nil {
				x.teachers = own.teachers.gather(g)
			}
		}
	}
	for _, g := range c.grids {
		for _, x := range []*side{&g.rows, &g.cols} {
			x.ours.finish(c.weight)
			if x.teacher != nil {
				x.teachers.finish(1)
			}
		}
	}
}

// gradient sweeps over a grid, backwards, for the gradients and for the targets' part of the loss.
func (c *contrastive) gradient(g *grid) {
	first := g == c.grids[0] // its rows are the images, which the loss is summed over
	plain := g.rows.ids == nil && g.rows.teacher == nil
	c.each(g, true, func(s *torch.Scope, at block) {
		logits, teacher := c.logits(s, at)
		work := c.buffer(s, workBuffer, at)
		cross := s.Alias(c.cross)
		if plain { // the targets are 2 on the diagonal
			if pairs := diagonal(logits, at); pairs != nil && first {
				opAdd.Run(s, cross, pairs.To(c.scale.Device(), torch.Float64).Sum(), 2)
			}
			probabilities(s, at, &g.rows.ours, &g.cols.ours, logits, work)
			if pairs := diagonal(work, at); pairs != nil {
				pairs.AddInPlace(-2)
			}
		} else {
			targets := c.targets(s, at, teacher)
			if first {
				opMul.Run(s, work.CopyFrom(logits), targets)
				opAdd.Run(s, cross, total64(work))
			}
			probabilities(s, at, &g.rows.ours, &g.cols.ours, logits, work)
			opSub.Run(s, work, targets)
		}
		c.backward(s, at, work)
	})
}

// targets fills the tile's: of each row and each column 1, spread over the matches, and 1 as the teacher spreads it. teacher,
// its logits, and the work buffer are overwritten.
func (c *contrastive) targets(s *torch.Scope, at block, teacher *torch.Tensor) *torch.Tensor {
	out, work := c.buffer(s, targetsBuffer, at), c.buffer(s, workBuffer, at)
	if at.grid.rows.ids != nil {
		share := func(x *side, part span) *torch.Tensor { return c.convert(part.of(s.Alias(x.matches)).Pow(-1)) }
		work.CopyFrom(share(&at.grid.rows, at.rows).Unsqueeze(1))
		opAdd.Run(s, work, share(&at.grid.cols, at.cols))
		opMul.Run(s, out.CopyFrom(matching(s, at)), work)
	} else {
		out.Fill(0)
		if pairs := diagonal(out, at); pairs != nil {
			pairs.Fill(2)
		}
	}
	if teacher != nil {
		probabilities(s, at, &at.grid.rows.teachers, &at.grid.cols.teachers, teacher, work)
		opAdd.Run(s, out, work)
	}
	return out
}
