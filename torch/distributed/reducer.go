package distributed

/*
#include "../../csrc/goclip.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/goclip/goclip/torch"
)

// BucketBytes is the usual size of a bucket of gradients, PyTorch's.
const BucketBytes = 25 << 20

// Reducer sums the gradients of a model's parameters over the ranks of a group, in buckets that are on their way while
// backward computes the rest (PyTorch Distributed, arXiv 2006.15704, section 3.2).
//
// The first step fills the buckets as the parameters come, from the last to the first, and sends little before its end;
// it learns in which order backward finishes them, and from then on a bucket is sent as soon as it is full.
type Reducer struct {
	c     *C.gc_reducer // nil in a world of one
	group *Group
}

// Reduction says how a step's sum went.
type Reduction struct {
	Buckets int
	Early   int // of them, sent while backward still computed other gradients
}

// NewReducer prepares the parameters, of which all ranks have the same, in the same order, on the device that they stay
// on. It ends with [Reducer.Close], before the group.
func NewReducer(g *Group, params []*torch.Tensor, bucketBytes int) (*Reducer, error) {
	r := &Reducer{group: g}
	if g.world.Size == 1 {
		return r, nil
	}
	if len(params) == 0 || bucketBytes <= 0 {
		return nil, errors.New("distributed: a reducer needs parameters, and buckets of at least a byte")
	}
	pointers := make([]unsafe.Pointer, len(params))
	for i, p := range params {
		pointers[i] = p.Pointer()
		defer torch.FreePointer(pointers[i])
	}
	if err := message(C.gc_reducer_open(C.int64_t(g.number), &pointers[0], C.size_t(len(params)), C.int64_t(bucketBytes), &r.c)); err != nil {
		return nil, fmt.Errorf("distributed: %w", err)
	}
	return r, nil
}

// Prepare says that the next Backward is the step's last: gradients that it completes are sent. Several Backwards may
// follow if no two reach the same parameter.
func (r *Reducer) Prepare() error {
	if r.c == nil {
		return nil
	}
	return message(C.gc_reducer_prepare(r.c))
}

// Finish waits for the sums, and leaves them as the parameters' gradients. A parameter without gradient counts as zero,
// and has none afterwards either if it has none on any rank. The error is the *[RankError] if a rank has failed. With
// nccl it is the device that waits: see [Group.Check].
func (r *Reducer) Finish() (Reduction, error) {
	if r.c == nil {
		return Reduction{}, nil
	}
	var buckets, early C.int32_t
	if err := message(C.gc_reducer_finish(r.c, &buckets, &early)); err != nil {
		if failure := r.group.Err(); failure != nil {
			return Reduction{}, failure // whose rank and reason say more than which sum heard of it
		}
		return Reduction{}, fmt.Errorf("distributed: the sum of the gradients: %w", err)
	}
	return Reduction{Buckets: int(buckets), Early: int(early)}, nil
}

// Close lets the parameters go.
func (r *Reducer) Close() {
	if r.c != nil {
		C.gc_reducer_close(r.c)
		r.c = nil
	}
}
