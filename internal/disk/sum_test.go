package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckBeside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "weights")
	require.NoError(t, os.WriteFile(path, []byte("123456789"), 0o600))
	assert.NoError(t, CheckBeside(dir, "weights"), "there are no sums")
	state := filepath.Join(dir, filepath.FromSlash(StateFile))
	require.NoError(t, os.Mkdir(filepath.Dir(state), 0o700))
	put := func(text string) { require.NoError(t, os.WriteFile(state, []byte(text), 0o600)) }
	put(`{"files": {"weights": {"size": 9, "crc32c": "e3069283"}}, "step": 3}`) // CRC-32C's check value
	assert.NoError(t, CheckBeside(dir, "weights"))
	assert.NoError(t, CheckBeside(dir, "other"), "not of the checkpoint")
	require.NoError(t, os.WriteFile(path, []byte("123456780"), 0o600))
	assert.EqualError(t, CheckBeside(dir, "weights"), path+" is damaged: 9 bytes with the sum 9bb4494f, where 9 with e3069283 were written")
	put(`{`)
	assert.ErrorContains(t, CheckBeside(dir, "weights"), "the sums of "+path)
	put(`{"files": {"gone": {"size": 9, "crc32c": "e3069283"}}}`)
	assert.ErrorIs(t, CheckBeside(dir, "gone"), os.ErrNotExist)
}
