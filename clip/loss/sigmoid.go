package loss

import "github.com/goclip/goclip/torch"

var (
	opSoftplus = torch.NewOp("aten::softplus.out")
	opSigmoid  = torch.NewOp("aten::sigmoid_")
	opNegate   = torch.NewOp("aten::neg_")
)

// TiledSigmoid is [Sigmoid] of the N pairs of all processes with its gradients, without ever holding the N x N logits: with
// u_ij = scale * images_i . texts_j + bias and z_ij = 1 where j is a match of i, -1 else,
//
//	L = 1/N sum_ij -log sigmoid(z_ij u_ij)
//	dL/du_ij = -1/N z_ij sigmoid(-z_ij u_ij)
//
// Each pair stands alone, so one sweep over tiles gives both. The rest is as for [TiledContrastive]; ids make more matches in
// the same way. Without a Bias it is 0. A teacher is refused: open_clip's distillation is of softmaxes.
func TiledSigmoid(p Pairs, g Gatherer, tile int) Gradient {
	p.check("sigmoid_loss", g, tile)
	if p.Teacher != nil {
		panic(&torch.Error{Op: "sigmoid_loss", Msg: "there is no distillation with the sigmoid loss; Teacher should be nil"})
	}
	out := p.result()
	exactly(func(s *torch.Scope) {
		t := tilesFor(s, p, g, tile, out)
		loss, bias := t.zero(), t.zero()
		for i, grid := range t.grids {
			t.each(grid, false, func(s *torch.Scope, at block) {
				x, _ := t.logits(s, at)
				if t.bias != nil {
					opAdd.Run(s, x, t.bias)
				}
				flip := t.flip(s, at)
				flip(x) // -z u
				if work := t.buffer(s, workBuffer, at); i == 0 {
					opSoftplus.Run(s, x, 1, 40, work) // -log sigmoid(z u); from 40 on it is -z u, right to 1e-17
					opAdd.Run(s, s.Alias(loss), total64(work))
				}
				opSigmoid.Run(s, x)
				if flip(x); i == 0 {
					opAdd.Run(s, s.Alias(bias), total64(x))
				}
				t.backward(s, at, x)
			})
		}
		factor := 1 / float64(t.n)
		s.Alias(out.Loss).CopyFrom(loss.MulScalar(factor))
		if out.Bias != nil {
			s.Alias(out.Bias).CopyFrom(bias.MulScalar(factor))
		}
		t.finish(out, factor)
	})
	return out
}

// flip gives a function that changes the sign of the matches in a tile.
func (t *tiles) flip(s *torch.Scope, at block) func(x *torch.Tensor) {
	if at.grid.rows.ids == nil {
		return func(x *torch.Tensor) {
			if pairs := diagonal(x, at); pairs != nil {
				opNegate.Run(s, pairs)
			}
		}
	}
	signs := t.buffer(s, targetsBuffer, at).CopyFrom(matching(s, at)).MulInPlace(-2).AddInPlace(1)
	return func(x *torch.Tensor) { opMul.Run(s, x, signs) }
}
