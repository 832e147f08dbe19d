package ahead_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/goclip/goclip/internal/ahead"
)

func numbers(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func TestMapKeepsTheOrder(t *testing.T) {
	for _, workers := range []int{1, 3, 16} {
		for _, n := range []int{0, 1, 7} {
			got := slices.Collect(ahead.Map(numbers(100), workers, n, func(i, v int) int { return i*1000 + v*v }))
			want := make([]int, 100)
			for i := range want {
				want[i] = i*1000 + i*i
			}
			assert.Equal(t, want, got, "%d workers, %d ahead", workers, n)
		}
	}
	assert.Empty(t, slices.Collect(ahead.Map(numbers(0), 2, 2, func(i, v int) int { return v })))
}

// TestMapIsBounded begins no more than n values beyond those in hand and being computed, and none after the loop.
func TestMapIsBounded(t *testing.T) {
	const workers, n = 2, 4
	var begun atomic.Int64
	taken := int64(0)
	for range ahead.Map(numbers(1000), workers, n, func(int, int) int { begun.Add(1); return 0 }) {
		taken++
		assert.LessOrEqual(t, begun.Load(), taken+n+1)
		if taken == 100 {
			break
		}
	}
	after := begun.Load()
	assert.LessOrEqual(t, after, taken+n+1)
	assert.Equal(t, after, begun.Load())
}

// TestPanics: a panic in one of Map's goroutines is that of its caller, and nothing continues after it.
func TestPanics(t *testing.T) {
	for _, at := range []string{"sequence", "function"} {
		in := func(yield func(int) bool) {
			for i := range 20 {
				if i == 7 && at == "sequence" {
					panic("seven")
				}
				if !yield(i) {
					return
				}
			}
		}
		var got []int
		assert.PanicsWithValue(t, "seven", func() {
			for v := range ahead.Map(in, 3, 4, func(_, v int) int {
				if v == 7 && at == "function" {
					panic("seven")
				}
				return v
			}) {
				got = append(got, v)
			}
		}, at)
		assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6}, got, at)
	}
}
