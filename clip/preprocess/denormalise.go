package preprocess

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Denormalise writes the bytes that t's normalised images src, (n, 3, H, W), were made of to dst,
// of the same length, and reports whether there are such bytes: whether normalising them gives src, to
// the last bit. Bytes are a quarter of what has to go to a GPU.
func (t *Transform) Denormalise(dst []uint8, src []float32) bool {
	plane := t.cfg.Size[0] * t.cfg.Size[1]
	if plane == 0 || len(src)%(3*plane) != 0 || len(dst) != len(src) {
		return false
	}
	planes := len(src) / plane
	var failed atomic.Bool
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(planes, runtime.GOMAXPROCS(0)) {
		all.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= planes {
					return
				}
				c := i % 3
				if !denormalise(dst[i*plane:][:plane], src[i*plane:][:plane], &t.table[c], t.cfg.Mean[c], t.cfg.Std[c]) {
					failed.Store(true)
				}
			}
		})
	}
	all.Wait()
	return !failed.Load()
}

func denormalise(dst []uint8, src []float32, table *[256]float32, mean, std float32) bool {
	scale, shift := 255*std, 255*mean+0.5
	for i, x := range src {
		v := x*scale + shift
		if !(v >= 0 && v < 256) { // NaN too
			return false
		}
		b := uint8(v)
		if table[b] != x {
			return false
		}
		dst[i] = b
	}
	return true
}
