// Package ahead computes a sequence's values before they are asked for.
package ahead

import (
	"iter"
	"sync"
)

// Map yields f(i, v) of the i-th value v of a sequence, in order. Workers goroutines compute, at most n values
// further than the one that is asked for. When the loop ends, no new value is begun, and Map returns once the
// begun ones are done.
func Map[T, R any](in iter.Seq[T], workers, n int, f func(i int, v T) R) iter.Seq[R] {
	return func(yield func(R) bool) {
		slots, enough := make(chan chan R, n), make(chan struct{})
		var begun sync.WaitGroup
		defer begun.Wait()
		defer close(enough)
		begun.Go(func() {
			defer close(slots)
			busy := make(chan struct{}, workers)
			i := 0
			for v := range in {
				slot := make(chan R, 1)
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
					defer func() { <-busy }()
					slot <- f(at, v)
				})
				i++
			}
		})
		for slot := range slots {
			if !yield(<-slot) {
				return
			}
		}
	}
}
