// Package settled counts live handles in tests. Only tests import it.
package settled

import "runtime"

// Count lets the collector free what earlier code no longer reaches, until the count of live stays the
// same, and returns it. A test that starts from it sees its own handles alone: no earlier test's garbage
// goes meanwhile, which would make the count fall and hide what the test leaves.
func Count(live func() int64) int64 {
	count := int64(-1)
	for same := 0; same < 3; {
		collect()
		if now := live(); now == count {
			same++
		} else {
			count, same = now, 0
		}
	}
	return count
}

// collect runs the collector once and waits for a cleanup of that run. Others may still wait for their turn.
func collect() {
	done := make(chan struct{})
	watched := &struct{ done chan struct{} }{done}
	runtime.AddCleanup(watched, func(done chan struct{}) { close(done) }, done)
	runtime.GC()
	<-done
}
