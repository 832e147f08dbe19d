package settled_test

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/goclip/goclip/internal/settled"
)

type node struct{ next *node }

// TestCount: of a thousand handles, those out of reach are gone, also where one holds the next.
func TestCount(t *testing.T) {
	var live atomic.Int64
	handle := func(next *node) *node {
		n := &node{next}
		live.Add(1)
		runtime.AddCleanup(n, func(by int64) { live.Add(by) }, -1)
		return n
	}
	var chain *node
	for range 500 {
		chain = handle(chain)
		handle(nil)
	}
	assert.EqualValues(t, 500, settled.Count(live.Load))
	runtime.KeepAlive(chain)
	chain = nil
	assert.Zero(t, settled.Count(live.Load))
}
