package clip

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWrappedWeights reads files whose names other libraries' wrappers have lengthened.
func TestWrappedWeights(t *testing.T) {
	m := shippedModel(t)
	dir := filepath.Join(t.TempDir(), "plain")
	require.NoError(t, m.Save(dir))
	plain, err := os.ReadFile(filepath.Join(dir, WeightsFile))
	require.NoError(t, err)
	size := binary.LittleEndian.Uint64(plain)
	for name, rename := range map[string]func(string) string{
		"compiled":                func(key string) string { return "_orig_mod." + key },
		"distributed, compiled":   func(key string) string { return "module._orig_mod." + key },
		"compiled, distributed":   func(key string) string { return "_orig_mod.module." + key },
		"Lightning's":             func(key string) string { return "model." + key },
		"a mean, in Lightning's":  func(key string) string { return "model.module." + key },
		"one tower compiled":      func(key string) string { return strings.Replace(key, "visual.", "visual._orig_mod.", 1) },
		"its transformer, too":    func(key string) string { return strings.Replace(key, "transformer.", "transformer._orig_mod.", 1) },
		"the mean of the weights": func(key string) string { return "ema_model." + key },
	} {
		var header map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(plain[8:8+size], &header))
		renamed := map[string]json.RawMessage{}
		for key, value := range header {
			if key != "__metadata__" {
				key = rename(key)
			}
			renamed[key] = value
		}
		text, err := json.Marshal(renamed)
		require.NoError(t, err)
		for len(text)%8 != 0 {
			text = append(text, ' ')
		}
		file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
		path := filepath.Join(t.TempDir(), "wrapped.safetensors")
		require.NoError(t, os.WriteFile(path, append(file, plain[8+size:]...), 0o644))
		other := shippedModel(t)
		require.NoError(t, other.Load(path), name)
		assert.True(t, other.Trained())
	}
}
