package campaign

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFreePort(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Run("many", func(t *testing.T) {
		seen := map[string]bool{}
		for range 200 {
			port := FreePort(t)
			assert.False(t, seen[port], port)
			seen[port] = true
			n, err := strconv.Atoi(port)
			require.NoError(t, err)
			assert.True(t, n >= 20000 && n < 32768)
		}
	})
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, left, filepath.Join(tmp, "*"))
}
