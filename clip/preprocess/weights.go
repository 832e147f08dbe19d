package preprocess

import (
	"math"
	"sync"
)

// filter is a resampling kernel, named as open_clip names it.
type filter uint8

const (
	bicubic filter = iota
	bilinear
)

// precision is Pillow's PRECISION_BITS: the fraction bits of a weight, leaving 8 for the value and 2 for overflow.
const precision = 32 - 8 - 2

func (f filter) support() float64 {
	if f == bilinear {
		return 1
	}
	return 2
}

// at gives the kernel's height at x. Bicubic is the convolution kernel with a = -0.5.
func (f filter) at(x float64) float64 {
	x = math.Abs(x)
	if f == bilinear {
		return max(1-x, 0)
	}
	const a = -0.5
	switch {
	case x < 1:
		return float64(float64(float64(float64((a+2)*x)-(a+3))*x)*x) + 1
	case x < 2:
		return float64(float64(float64(float64((x-5)*x)+8)*x)-4) * a
	}
	return 0
}

// weights holds, for each kept output position i, the source range first[i] .. first[i]+n[i] and its weights
// k[i*stride : i*stride+n[i]]. Either fixed or exact is set.
type weights struct {
	first, n []int32
	stride   int
	fixed    []int32   // for 8-bit channels, scaled by 1 << precision
	exact    []float64 // for 16-bit channels

	across, down quads // fixed for the fused passes
}

// last is one past the highest source position in use.
func (w *weights) last() int {
	end := int32(0)
	for i, f := range w.first {
		end = max(end, f+w.n[i])
	}
	return int(end)
}

// widest is the most source positions that an output position weighs.
func (w *weights) widest() int {
	most := int32(0)
	for _, n := range w.n {
		most = max(most, n)
	}
	return int(most)
}

type weightsKey struct {
	in, out, from, count int
	filter               filter
	wide                 bool
}

// newWeights follows precompute_coeffs and normalize_coeffs_8bpc of Pillow's libImaging/Resample.c, for the output
// positions from .. from+count alone. Conversions to float64 keep compilers from fusing a multiplication and an
// addition into one rounding.
func newWeights(key weightsKey) *weights {
	scale := float64(float32(key.in)) / float64(key.out)
	filterscale := max(scale, 1)
	support := key.filter.support() * filterscale
	inverse := 1 / filterscale
	stride := int(math.Ceil(support))*2 + 1

	w := &weights{first: make([]int32, key.count), n: make([]int32, key.count), stride: stride}
	if key.wide {
		w.exact = make([]float64, key.count*stride)
	} else {
		w.fixed = make([]int32, key.count*stride)
	}
	k := make([]float64, stride)
	for i := range key.count {
		center := float64((float64(key.from+i) + 0.5) * scale)
		lo := max(int(center-support+0.5), 0)
		hi := min(int(center+support+0.5), key.in)
		n := hi - lo
		sum := 0.0
		for x := range n {
			k[x] = key.filter.at(float64((float64(x+lo) - center + 0.5) * inverse))
			sum += k[x]
		}
		for x := range n {
			if sum != 0 {
				k[x] /= sum
			}
			if key.wide {
				w.exact[i*stride+x] = k[x]
			} else {
				w.fixed[i*stride+x] = fixedPoint(k[x])
			}
		}
		w.first[i], w.n[i] = int32(lo), int32(n)
	}
	return w
}

func fixedPoint(v float64) int32 {
	v = float64(v * (1 << precision))
	if v < 0 {
		return int32(v - 0.5)
	}
	return int32(v + 0.5)
}

// weightsCache keeps the weights of size pairs seen lately: images of one data set share a few sizes.
type weightsCache struct {
	mu sync.RWMutex
	m  map[weightsKey]*weights
}

// Bounds of the cache. Larger tables are rare and cheap beside their image.
const (
	cacheEntries = 256
	cacheWeights = 1 << 15
)

func (c *weightsCache) get(key weightsKey) *weights {
	c.mu.RLock()
	w := c.m[key]
	c.mu.RUnlock()
	if w != nil {
		return w
	}
	w = newWeights(key)
	if len(w.fixed)+len(w.exact) > cacheWeights {
		return w
	}
	c.mu.Lock()
	if c.m == nil || len(c.m) >= cacheEntries {
		c.m = make(map[weightsKey]*weights, cacheEntries)
	}
	c.m[key] = w
	c.mu.Unlock()
	return w
}
