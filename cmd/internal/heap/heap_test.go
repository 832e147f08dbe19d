package heap

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHeapBeginsLarge: nothing else here allocates so much, so the function ran.
func TestHeapBeginsLarge(t *testing.T) {
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	heap := regexp.MustCompile(`(?m)^.*\[heap\]$`).Find(maps)
	require.NotNil(t, heap)
	var first, last uint64
	_, err = fmt.Sscanf(string(heap), "%x-%x", &first, &last)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, last-first, uint64(52<<20))
}
