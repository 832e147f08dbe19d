// Package ahead computes a sequence's values before they are asked for.
package ahead

import (
	"iter"
	"sync"
)

// Map yields f(i, v) of the i-th value v of a sequence, in order. Workers goroutines compute, at most n values
// further than the one that is asked for. When the loop ends, no new value is begun, and Map returns once the
// begun ones are done. A panic of the sequence or of f is the caller's, who can recover it.
func Map[T, R any](in iter.Seq[T], workers, n int, f func(i int, v T) R) iter.Seq[R] {
	type result struct {
		value  R
		thrown any
	}
	return func(yield func(R) bool) {
		slots, enough := make(chan chan result, n), make(chan struct{})
		var thrown any // of the sequence
		var begun sync.WaitGroup
		defer begun.Wait()
		defer close(enough)
		begun.Go(func() {
			defer close(slots)
			defer func() { thrown = recover() }()
			busy := make(chan struct{}, workers)
			i := 0
			for v := range in {
				slot := make(chan result, 1)
				select {
				case slots <- slot:
				case <-enough:
					return
				}
				select {
				case busy <- struct{}{}:
				case <-enough:
					return
				}
				at := i
				begun.Go(func() {
					var r result
					defer func() {
						r.thrown = recover()
						<-busy
						slot <- r
					}()
					r.value = f(at, v)
				})
				i++
			}
		})
		for slot := range slots {
			r := <-slot
			if r.thrown != nil {
				panic(r.thrown)
			}
			if !yield(r.value) {
				return
			}
		}
		if thrown != nil {
			panic(thrown)
		}
	}
}
