package data

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Groups of eight values are counted to the last: all but that one must be in use.
func TestRunsAreCounted(t *testing.T) {
	groups := func(n int) []byte { return append(binary.AppendUvarint(nil, uint64(n)<<1|1), make([]byte, n)...) }
	run := func(n int) []byte { return append(binary.AppendUvarint(nil, uint64(n)<<1), 0) }
	for _, c := range []struct {
		in     []byte
		values int
		good   bool
	}{
		{groups(65), 8, true}, {groups(66), 8, false}, {run(520), 8, true}, {run(521), 8, false}, {append(run(8), groups(64)...), 8, true}, {append(run(9), groups(64)...), 8, false},
		{nil, 0, true}, {[]byte{0x80}, 8, false}, {run(1 << 32), 1 << 40, false}, {groups(3)[:2], 100, true},
	} {
		if err := checkRuns(c.in, 1, c.values); c.good {
			assert.NoError(t, err, "%x", c.in)
		} else {
			assert.ErrorIs(t, err, errDamaged, "%x", c.in)
		}
	}
	assert.NoError(t, checkRuns(run(8), 32, 8))
	assert.ErrorIs(t, checkRuns(run(8), 33, 8), errDamaged)
}
