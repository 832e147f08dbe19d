package loss

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// losses are the two in tiles.
var losses = map[string]func(Pairs, Gatherer, int) Gradient{"contrastive": TiledContrastive, "sigmoid": TiledSigmoid}

// lossCase is a batch of made-up features.
type lossCase struct {
	n, width       int
	dtype          torch.DType
	scale          float64
	images, texts  []int64 // ids
	teacher        bool
	same, opposite bool // all features equal; each text the opposite of its image
}

func (c lossCase) String() string {
	return fmt.Sprintf("%dx%d %s, scale %g, images %v, texts %v, teacher %t", c.n, c.width, c.dtype, c.scale, c.images, c.texts, c.teacher)
}

// pairs are those from..from+k of the batch.
func (c lossCase) pairs(s *torch.Scope, loss string, from, k int) Pairs {
	features := func(key string, width int) *torch.Tensor {
		x := torch.FromSlice(s, golden.Uniform(key, c.n*width), c.n, width)
		if c.same {
			x = x.Narrow(0, 0, 1).Expand(c.n, width)
		}
		return x.Normalize(1).To(torch.CPU, c.dtype).Narrow(0, from, k)
	}
	number := func(v float64) *torch.Tensor {
		return torch.FromSlice(s, []float64{v}).To(torch.CPU, computeType(features("images", 1)))
	}
	ids := func(all []int64) *torch.Tensor {
		if all == nil {
			return nil
		}
		return torch.FromSlice(s, all[from:from+k], k)
	}
	p := Pairs{Images: features("images", c.width), Texts: features("texts", c.width), Scale: number(c.scale)}
	p.ImageIDs, p.TextIDs = ids(c.images), ids(c.texts)
	switch {
	case c.same:
		p.Texts = p.Images
	case c.opposite:
		p.Texts = p.Images.Neg()
	}
	if loss == "sigmoid" {
		p.Bias = number(-10)
	} else if c.teacher {
		p.Teacher = &Teacher{features("teacher images", 3), features("teacher texts", 3), number(40)}
	}
	return p
}

// dense is the loss by autograd on the whole matrix, in float64.
func dense(loss string, p Pairs) []*torch.Tensor {
	leaf := func(x *torch.Tensor) *torch.Tensor {
		return x.To(torch.CPU, torch.Float64).Detach().Clone().SetRequiresGrad(true)
	}
	images, texts, scale := leaf(p.Images), leaf(p.Texts), leaf(p.Scale)
	inputs := []*torch.Tensor{images, texts, scale}
	logits, n := images.MatMul(texts.T()).Mul(scale), p.Images.Size(0)
	place := torch.ArangeLike(images, n)
	match := place.Unsqueeze(1).Eq(place).To(torch.CPU, torch.Float64)
	for _, ids := range []*torch.Tensor{p.ImageIDs, p.TextIDs} {
		if ids != nil {
			match = torch.Stack(0, match, ids.Unsqueeze(1).Eq(ids).To(torch.CPU, torch.Float64)).MaxDim(0)
		}
	}
	var total *torch.Tensor
	if loss == "sigmoid" {
		bias := leaf(p.Bias)
		inputs = append(inputs, bias)
		total = logits.Add(bias).Mul(match.MulScalar(2).AddScalar(-1)).LogSigmoid().Sum().MulScalar(-1 / float64(n))
	} else {
		for dim := range 2 {
			targets := match.Div(match.SumDim(dim).Unsqueeze(dim))
			if p.Teacher != nil {
				targets = targets.Add(leaf(p.Teacher.Images).MatMul(leaf(p.Teacher.Texts).T()).Mul(leaf(p.Teacher.Scale)).Softmax(dim).Detach())
			}
			part := targets.Mul(logits.LogSoftmax(dim)).Sum().MulScalar(-0.5 / float64(n))
			if total == nil {
				total = part
			} else {
				total = total.Add(part)
			}
		}
	}
	return append([]*torch.Tensor{total.Detach()}, torch.Gradients(total, inputs...)...)
}

func (r Gradient) list() []*torch.Tensor {
	all := []*torch.Tensor{r.Loss, r.Images, r.Texts, r.Scale}
	if r.Bias != nil {
		all = append(all, r.Bias)
	}
	return all
}

var lossParts = []string{"loss", "images", "texts", "scale", "bias"}

func doubles(t *torch.Tensor) []float64 {
	return torch.ToSlice[float64](t.Detach().To(torch.CPU, torch.Float64))
}

// apart is the largest difference, relative to the largest expected value, or to 1e-6 where all are about 0.
func apart(want, got []float64) float64 {
	d, top := 0.0, 1e-6
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= d) { // also NaN
			d = math.Abs(got[i] - want[i])
		}
		top = math.Max(top, math.Abs(want[i]))
	}
	return d / top
}

// repeated is n ids of which each stands at several places, shuffled by the step.
func repeated(n, different, step int) []int64 {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = 1<<40 + int64(i*step%different)
	}
	return ids
}

func lossCases() []lossCase {
	var all []lossCase
	for _, size := range [][2]int{{1, 1}, {2, 3}, {5, 8}, {33, 16}} {
		n := size[0]
		for _, scale := range []float64{1, 100} {
			for _, dtype := range []torch.DType{torch.Float64, torch.Float32, torch.BFloat16, torch.Float16} {
				c := lossCase{n: n, width: size[1], dtype: dtype, scale: scale}
				all = append(all, c)
				c.teacher = true
				all = append(all, c)
				if dtype == torch.Float16 {
					continue
				}
				c.images = repeated(n, (n+1)/2, 1) // each image twice, also with a teacher
				all = append(all, c)
				c.teacher = false
				all = append(all, c)
				c.texts = repeated(n, (n+2)/3, 2)
				all = append(all, c)
				c.images = nil
				all = append(all, c)
				c.texts = make([]int64, n) // all equal
				all = append(all, c)
			}
		}
	}
	return all
}

// bound is how far a loss in tiles may be from autograd in float64: rounded features are the same on both sides.
func (c lossCase) bound() float64 {
	if c.dtype == torch.Float64 {
		return 1e-12
	}
	return 1e-5
}

// oneThread has the kernels not share their work: else each of many short steps waits for the other core of a busy machine.
func oneThread(t *testing.T) {
	torch.SetNumThreads(1)
	t.Cleanup(func() { torch.SetNumThreads(0) })
}

func TestTiledLoss(t *testing.T) {
	oneThread(t)
	before, overall := settled.Count(torch.LiveTensors), 0.0
	for name, loss := range losses {
		for _, c := range lossCases() {
			require.NoError(t, torch.Do(func(s *torch.Scope) {
				p := c.pairs(s, name, 0, c.n)
				want := dense(name, p)
				for _, tile := range []int{0, 1, 2, 7, 16, 40} {
					if tile <= 2 && c.n > 16 {
						continue // hundreds of tiles
					}
					for i, got := range loss(p, nil, tile).list() {
						require.Equal(t, want[i].Shape(), got.Shape())
						require.Equal(t, computeType(p.Images), got.DType())
						d := apart(doubles(want[i]), doubles(got))
						require.LessOrEqual(t, d, c.bound(), "%s, %s, %s, tiles of %d", name, c, lossParts[i], tile)
						if c.dtype == torch.Float32 {
							overall = math.Max(overall, d)
						}
					}
				}
			}))
		}
	}
	assert.Equal(t, before, torch.LiveTensors())
	t.Logf("the largest difference in float32 is %.1e of the tensor's largest value", overall)
}

// TestLossExtremes holds what rounding and overflow could spoil: exp(100) is beyond float32, and so is exp(-200).
func TestLossExtremes(t *testing.T) {
	for name, loss := range losses {
		for _, c := range []lossCase{
			{n: 9, width: 6, dtype: torch.Float32, scale: 100, same: true},
			{n: 9, width: 6, dtype: torch.BFloat16, scale: 100, same: true},
			{n: 9, width: 6, dtype: torch.Float32, scale: 100, opposite: true},
			{n: 9, width: 1, dtype: torch.Float32, scale: 100},
			{n: 9, width: 6, dtype: torch.Float32, scale: 100, same: true, images: make([]int64, 9)},
			{n: 9, width: 6, dtype: torch.Float32, scale: 1000},
		} {
			require.NoError(t, torch.Do(func(s *torch.Scope) {
				p := c.pairs(s, name, 0, c.n)
				want := dense(name, p)
				for _, tile := range []int{0, 4} {
					got := loss(p, nil, tile)
					for i, part := range got.list() {
						for j, v := range doubles(part) {
							w := doubles(want[i])[j]
							// s is rounded by 1e-7 of the scale, and so are probabilities; the features' gradients have scale / N as a factor.
							require.InDelta(t, w, v, 1e-6*c.scale*(1+math.Abs(w)), "%s, %s, %s, tiles of %d", name, c, lossParts[i], tile)
						}
					}
					if c.same && name == "contrastive" {
						// Equal logits may be rounded differently by their place in a product: by the spacing of float32 at
						// the scale, up or down.
						spacing := float64(math.Nextafter32(float32(c.scale), 1e9) - float32(c.scale))
						require.InDelta(t, math.Log(9), got.Loss.Item(), 2*spacing)
					}
				}
			}))
		}
	}
}

// TestLossRounding: what float32 loses in a batch as real ones are, beside what it loses by autograd on the whole matrix.
func TestLossRounding(t *testing.T) {
	const n, width = 700, 512
	oneThread(t)
	for _, scale := range []float64{14.3, 100} {
		require.NoError(t, torch.Do(func(s *torch.Scope) {
			images := torch.FromSlice(s, golden.Uniform("images", n*width), n, width).Normalize(1)
			texts := torch.FromSlice(s, golden.Uniform("texts", n*width), n, width).Normalize(1).Add(images.MulScalar(0.1)).Normalize(1)
			single := func(x *torch.Tensor) *torch.Tensor { return x.To(torch.CPU, torch.Float32) }
			p := Pairs{Images: single(images), Texts: single(texts), Scale: torch.FromSlice(s, []float32{float32(scale)})}
			want := dense("contrastive", p)
			leaf := func(x *torch.Tensor) *torch.Tensor { return x.Detach().SetRequiresGrad(true) }
			inputs := []*torch.Tensor{leaf(p.Images), leaf(p.Texts), leaf(p.Scale)}
			loss := Contrastive(inputs[0], inputs[1], inputs[2])
			plain := append([]*torch.Tensor{loss.Detach()}, torch.Gradients(loss, inputs...)...)
			for i, got := range TiledContrastive(p, nil, 300).list() {
				d := apart(doubles(want[i]), doubles(got))
				assert.LessOrEqual(t, d, 1e-5, "scale %g, %s", scale, lossParts[i])
				t.Logf("scale %g, %s: %.1e of the largest value in tiles, %.1e on the whole matrix", scale, lossParts[i], d,
					apart(doubles(want[i]), doubles(plain[i])))
			}
		}))
	}
}

// channels joins goroutines, each with a libtorch scope of its own, as processes are joined.
type channels struct {
	rank int
	to   [][]chan []byte // of sender and receiver
}

func (c channels) Rank() int { return c.rank }
func (c channels) Size() int { return len(c.to) }

func (c channels) AllGather(t *torch.Tensor) *torch.Tensor {
	for _, to := range c.to[c.rank] {
		to <- torch.ToBytes(t.Contiguous())
	}
	parts := []*torch.Tensor{t.Narrow(0, 0, 0)} // the scope of t for the result
	for from := range c.to {
		part := torch.FromBytes(nil, <-c.to[from][c.rank], t.DType(), t.Shape()...)
		defer part.Free()
		parts = append(parts, part)
	}
	return torch.Cat(0, parts...)
}

// together runs f as processes of their own would.
func together(t *testing.T, size int, f func(g Gatherer, s *torch.Scope)) {
	t.Helper()
	to := make([][]chan []byte, size)
	for i := range to {
		for range size {
			to[i] = append(to[i], make(chan []byte, 1))
		}
	}
	errs := make([]error, size)
	var wait sync.WaitGroup
	for rank := range size {
		wait.Go(func() { errs[rank] = torch.Do(func(s *torch.Scope) { f(channels{rank, to}, s) }) })
	}
	wait.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// TestLossOfProcesses holds the sum, or the features' gradients side by side, of several processes against those of one.
func TestLossOfProcesses(t *testing.T) {
	oneThread(t)
	before := settled.Count(torch.LiveTensors)
	for name, loss := range losses {
		for _, size := range []int{1, 2, 4} {
			for _, c := range lossCases() {
				if c.n != 5 || c.scale == 1 || c.dtype == torch.Float16 {
					continue
				}
				c.n = 12
				if c.images != nil {
					c.images = repeated(c.n, 5, 1)
				}
				if c.texts != nil {
					c.texts = repeated(c.n, 7, 3)
				}
				k := c.n / size
				shares := make([][][]float64, size)
				together(t, size, func(g Gatherer, s *torch.Scope) {
					for _, part := range loss(c.pairs(s, name, g.Rank()*k, k), g, 5).list() {
						shares[g.Rank()] = append(shares[g.Rank()], doubles(part))
					}
				})
				require.NoError(t, torch.Do(func(s *torch.Scope) {
					for i, one := range loss(c.pairs(s, name, 0, c.n), nil, 0).list() {
						var joined []float64
						for _, share := range shares {
							if one.Dim() == 2 {
								joined = append(joined, share[i]...)
							} else if joined == nil {
								joined = share[i]
							} else {
								joined[0] += share[i][0]
							}
						}
						require.Len(t, joined, one.Numel())
						require.LessOrEqual(t, apart(doubles(one), joined), c.bound(), "%s, %d processes, %s, %s", name, size, c, lossParts[i])
					}
				}))
			}
		}
	}
	assert.Equal(t, before, torch.LiveTensors())
}
