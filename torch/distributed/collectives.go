package distributed

/*
#include "../../csrc/goclip.h"
*/
import "C"

import (
	"fmt"

	"github.com/goclip/goclip/torch"
)

// The collectives of csrc/distributed.cpp.
var (
	opAllReduce     = torch.NewOp("goclip::all_reduce_")
	opAllGather     = torch.NewOp("goclip::all_gather")
	opReduceScatter = torch.NewOp("goclip::reduce_scatter")
	opBroadcast     = torch.NewOp("goclip::broadcast_")
)

// Check says what went wrong in a collective, as an error that is the *[RankError] if a rank has failed. With nccl the
// device waits for a collective and the host continues: what the host reads of its result is right if Check returns nil
// after that. It waits for all that is under way.
func (g *Group) Check() error {
	if g.world.Size == 1 {
		return nil
	}
	if err := message(C.gc_group_check(g.number)); err != nil {
		if failure := g.Err(); failure != nil {
			return failure
		}
		return fmt.Errorf("distributed: a collective: %w", err)
	}
	return nil
}

// AllReduce replaces each tensor by the sum of the ranks' tensors, which have one shape. No gradient flows through it.
func (g *Group) AllReduce(ts ...*torch.Tensor) {
	if g.world.Size > 1 {
		opAllReduce.Run(nil, ts, int(g.number))
	}
}

// AllGather puts the ranks' tensors (K, ...) behind one another, rank 0's first: (N, ...) with N = Size * K, in t's
// scope. K is the same on all ranks. A gradient flows back: each rank receives the sum of what all ranks' losses give its
// rows (a reduce-scatter in backward, in which all ranks take part).
func (g *Group) AllGather(t *torch.Tensor) *torch.Tensor {
	if g.world.Size == 1 {
		return t
	}
	return opAllGather.Call(t, int(g.number))
}

// ReduceScatter sums the ranks' tensors (N, ...) and gives each rank its part of the rows, (N / Size, ...): what
// [Group.AllGather] does in backward. No gradient flows through it.
func (g *Group) ReduceScatter(t *torch.Tensor) *torch.Tensor {
	if g.world.Size == 1 {
		return t
	}
	return opReduceScatter.Call(t, int(g.number))
}

// Broadcast replaces t by root's t, which has the same shape.
func (g *Group) Broadcast(t *torch.Tensor, root int) {
	if g.world.Size > 1 {
		opBroadcast.Run(nil, []*torch.Tensor{t}, root, int(g.number))
	}
}
