package distributed

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

func TestCollectives(t *testing.T) {
	for _, size := range []int{2, 4} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			for _, task := range []string{"collectives", "gather"} {
				for _, r := range start(t, size, task, nil) {
					r.well(t)
				}
			}
		})
	}
}

// own is a rank's tensor of small whole numbers, which every type holds and sums exactly.
func own(s *torch.Scope, rank int, dtype torch.DType, shape ...int) *torch.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	data := make([]int64, n)
	for i := range data {
		data[i] = int64(i%7 + 10*rank)
	}
	return torch.FromSlice(s, data, shape...).To(device, dtype)
}

func values(t *torch.Tensor) []int64 { return torch.ToSlice[int64](t.To(torch.CPU, torch.Int64)) }

func expect(what string, got *torch.Tensor, want func(i int) int64) error {
	for i, v := range values(got) {
		if v != want(i) {
			return fmt.Errorf("%s of %s: element %d is %d, not %d", what, got, i, v, want(i))
		}
	}
	return nil
}

// collectives holds every collective against its definition.
func collectives(g *Group) (err error) {
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	n := g.Size()
	ranks := int64(n * (n - 1) / 2) // the sum of the ranks
	for _, dtype := range []torch.DType{torch.Float32, torch.BFloat16, torch.Float16, torch.Float64, torch.Int64} {
		for _, size := range []int{1, 7, 1 << 18} {
			keep(torch.Do(func(s *torch.Scope) {
				t, u := own(s, g.Rank(), dtype, size), own(s, g.Rank(), dtype, 3)
				g.AllReduce(t, u)
				sum := func(i int) int64 { return int64(n)*int64(i%7) + 10*ranks }
				keep(expect("all-reduce", t, sum))
				keep(expect("all-reduce", u, sum))

				across := own(s, g.Rank(), dtype, 3, size).T() // its memory is not in its order
				g.AllReduce(across)
				keep(expect("all-reduce", across.T(), sum))

				gathered := g.AllGather(own(s, g.Rank(), dtype, size, 2))
				if !slices.Equal(gathered.Shape(), []int{n * size, 2}) || gathered.DType() != dtype {
					keep(fmt.Errorf("all-gather: %s", gathered))
				}
				keep(expect("all-gather", gathered, func(i int) int64 { return int64(i%(2*size)%7 + i/(2*size)*10) }))

				part := g.ReduceScatter(own(s, g.Rank(), dtype, n*size))
				keep(expect("reduce-scatter", part, func(i int) int64 { return int64(n)*int64((i+g.Rank()*size)%7) + 10*ranks }))

				root := n - 1
				t = own(s, g.Rank(), dtype, size)
				g.Broadcast(t, root)
				keep(expect("broadcast", t, func(i int) int64 { return int64(i%7 + 10*root) }))
			}))
		}
	}
	for round := range 3 {
		all, e := g.Exchange([]byte(fmt.Sprint("rank ", g.Rank(), " round ", round)))
		keep(e)
		for r, text := range all {
			if want := fmt.Sprint("rank ", r, " round ", round); string(text) != want {
				keep(fmt.Errorf("exchange: %q, not %q", text, want))
			}
		}
		keep(g.Barrier())
		for _, vote := range []int{-1, 0, n - 1} {
			any, e := g.Any(g.Rank() == vote)
			keep(e)
			if any != (vote >= 0) {
				keep(fmt.Errorf("of the votes with rank %d's: %v", vote, any))
			}
		}
	}
	return err
}

// gatherGradients lets each rank compute a fraction of a loss on gathered rows: sum over all rows j and own rows i of
// w_ij x_i * x_j, whose gradient is known.
func gatherGradients(g *Group) (err error) {
	const k = 3
	n := g.Size() * k
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i + 1)
	}
	weight := func(i, j int) float32 { return float32(i%4) + float32(j%3) }
	e := torch.Do(func(s *torch.Scope) {
		rows := torch.FromSlice(s, x[g.Rank()*k:(g.Rank()+1)*k], k, 1).To(device, torch.Float32).SetRequiresGrad(true)
		var w []float32
		for i := range k {
			for j := range n {
				w = append(w, weight(g.Rank()*k+i, j))
			}
		}
		all := g.AllGather(rows) // (n, 1)
		rows.MatMul(all.T()).Mul(torch.FromSliceLike(rows, w, k, n)).Sum().Backward()
		var want []float32
		for i := range k {
			at, sum := g.Rank()*k+i, float32(0)
			for j := range n {
				sum += weight(at, j)*x[j] + weight(j, at)*x[j]
			}
			want = append(want, sum)
		}
		if got := torch.ToSlice[float32](rows.Grad()); !slices.Equal(got, want) {
			err = fmt.Errorf("the gradient of the gathered rows is %v, not %v", got, want)
		}
		var plain *torch.Tensor
		s.NoGrad(func(s *torch.Scope) { plain = g.AllGather(s.Alias(rows)).Keep() })
		if plain.RequiresGrad() {
			err = fmt.Errorf("without gradients, the gathered rows have one")
		}
		plain.Free()
	})
	if e != nil {
		return e
	}
	return err
}

func TestWorldOfOne(t *testing.T) {
	live := settled.Count(torch.LiveTensors)
	g, err := Init(t.Context(), World{Size: 1}, Options{})
	require.NoError(t, err)
	assert.Equal(t, []int{0, 1, 0}, []int{g.Rank(), g.Size(), g.LocalRank()})
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{1, 2}, 2)
		g.AllReduce(x)
		g.Broadcast(x, 0)
		assert.Equal(t, []float32{1, 2}, torch.ToSlice[float32](g.ReduceScatter(g.AllGather(x))))
		r, err := NewReducer(g, []*torch.Tensor{x}, BucketBytes)
		require.NoError(t, err)
		defer r.Close()
		require.NoError(t, r.Prepare())
		_, err = r.Finish()
		require.NoError(t, err)
	}))
	all, err := g.Exchange([]byte("x"))
	require.NoError(t, err)
	assert.Equal(t, [][]byte{[]byte("x")}, all)
	vote, err := g.Any(true)
	require.NoError(t, err)
	assert.True(t, vote)
	require.NoError(t, g.Barrier())
	assert.Equal(t, context.Canceled, g.Fail(context.Canceled))
	require.NoError(t, g.Close())
	assert.Equal(t, live, torch.LiveTensors())
}
