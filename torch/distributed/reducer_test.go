package distributed

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/goclip/goclip/torch"
)

func TestReducer(t *testing.T) {
	for _, size := range []int{2, 4} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			for _, r := range start(t, size, "reduce", nil) {
				r.well(t)
			}
		})
	}
}

const layers, width, rows = 6, 8, 4

// network is a chain of layers with, beside it, a gain that every layer uses, a parameter that nothing uses, and one that
// only rank 1 uses.
type network struct {
	weights            []*torch.Tensor // (width, width) each
	gain, unused, once *torch.Tensor
}

func (n *network) params() []*torch.Tensor {
	return append([]*torch.Tensor{n.unused, n.once}, append(slices.Clone(n.weights), n.gain)...)
}

func newNetwork() *network {
	param := func(data []float32, shape ...int) (p *torch.Tensor) {
		if err := torch.NoGrad(func(s *torch.Scope) { p = torch.FromSlice(s, data, shape...).To(device, torch.Float32).Keep() }); err != nil {
			panic(err)
		}
		return p.SetRequiresGrad(true)
	}
	n := &network{gain: param([]float32{1.5}, 1), unused: param([]float32{1, 2}, 2), once: param([]float32{3}, 1)}
	for l := range layers {
		data := make([]float32, width*width)
		for i := range data {
			data[i] = float32((i*(l+3))%5-2) / 4
		}
		n.weights = append(n.weights, param(data, width, width))
	}
	return n
}

func (n *network) free() {
	for _, p := range n.params() {
		p.SetGrad(nil)
		p.Free()
	}
}

// loss is the fraction of a rank, whose rows differ from the others' and from other micro-batches'.
func (n *network) loss(s *torch.Scope, rank, micro int) *torch.Tensor {
	data := make([]float32, rows*width)
	for i := range data {
		data[i] = float32((i*3+rank*5+micro*7)%11-5) / 8
	}
	x := torch.FromSlice(s, data, rows, width).To(device, torch.Float32).Mul(n.gain)
	for _, w := range n.weights {
		x = x.MatMul(w).Mul(n.gain)
	}
	sum := x.Sum()
	if rank == 1 {
		sum = sum.Add(sum.Borrow(n.once).Sum())
	}
	return sum
}

// reduceGradients compares the ranks' sum with one process that computes all ranks' losses. Each step has two
// micro-batches, of which the last is reduced.
func reduceGradients(g *Group) error {
	model, alone := newNetwork(), newNetwork()
	defer model.free()
	defer alone.free()
	params := model.params()
	const perLayer = 4 * width * width
	r, err := NewReducer(g, params, 2*perLayer) // two layers to a bucket
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := NewReducer(g, params, BucketBytes); err == nil || !strings.Contains(err.Error(), "in another reducer already") {
		return fmt.Errorf("a second reducer: %v", err)
	}
	if _, err := r.Finish(); err == nil || !strings.Contains(err.Error(), "prepare comes before the last backward") {
		return fmt.Errorf("Finish without Prepare: %v", err)
	}
	for step := range 4 {
		err := torch.Do(func(s *torch.Scope) {
			for micro := range 2 {
				for rank := range g.Size() {
					alone.loss(s, rank, micro).Backward()
				}
			}
			model.loss(s, g.Rank(), 0).Backward()
		})
		if err != nil {
			return err
		}
		if err := r.Prepare(); err != nil {
			return err
		}
		if err := torch.Do(func(s *torch.Scope) { model.loss(s, g.Rank(), 1).Backward() }); err != nil {
			return err
		}
		done, err := r.Finish()
		if err != nil {
			return err
		}
		// The first bucket of the first step holds the gain, which backward completes last: nothing goes early. From then on
		// the layers' buckets go as they are full.
		if want := map[bool]int{true: 0, false: layers / 2}[step == 0]; done.Early != want {
			return fmt.Errorf("step %d: %d of %d buckets were sent early", step, done.Early, done.Buckets)
		}
		if err := sameGradients(g, params, alone.params()); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		torch.ZeroGrad(params)
		torch.ZeroGrad(alone.params())
	}
	// A gradient that comes after it was sent must not be lost in silence.
	if err := r.Prepare(); err != nil {
		return err
	}
	twice := torch.Do(func(s *torch.Scope) {
		model.loss(s, g.Rank(), 0).Backward()
		model.loss(s, g.Rank(), 1).Backward()
	})
	if twice == nil || !strings.Contains(twice.Error(), "had its gradient sent and got one more") {
		return fmt.Errorf("two backwards after Prepare: %v", twice)
	}
	_, err = r.Finish() // all ranks went wrong alike, so their collectives still match
	torch.ZeroGrad(params)
	return err
}

// sameGradients holds the sums against one process's, and against the other ranks' bit by bit.
func sameGradients(g *Group, params, want []*torch.Tensor) (err error) {
	var bits bytes.Buffer
	e := torch.Do(func(s *torch.Scope) {
		have, reference := torch.Grads(s, params), torch.Grads(s, want)
		for i := range params {
			if reference[i] == nil || have[i] == nil {
				if reference[i] != have[i] {
					err = fmt.Errorf("parameter %d: has a gradient %v, needs one %v", i, have[i] != nil, reference[i] != nil)
				}
				continue
			}
			a, b := torch.ToSlice[float32](have[i]), torch.ToSlice[float32](reference[i])
			for k := range a {
				if d := a[k] - b[k]; d > 1e-4*max(1, b[k], -b[k]) || -d > 1e-4*max(1, b[k], -b[k]) {
					err = fmt.Errorf("parameter %d: the gradient is %v, not %v", i, a, b)
				}
			}
			bits.Write(torch.ToBytes(have[i]))
		}
	})
	all, e2 := g.Exchange(bits.Bytes())
	for rank, other := range all {
		if !bytes.Equal(other, bits.Bytes()) {
			err = fmt.Errorf("rank %d has another sum", rank)
		}
	}
	return errors.Join(e, e2, err)
}
