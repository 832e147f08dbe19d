package campaign

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kept is memory that an input has taken.
var kept []byte

// FuzzPlanted has a fault that GOCLIP_PLANTED chooses: TestPlanted runs it.
func FuzzPlanted(of *testing.F) {
	f := Inputs(of, 1<<20)
	f.Add([]byte("abcd1234"), "text", byte(1), 7, true)
	f.Add([]byte("efgh"), "", byte(2), -7, false)
	plant := os.Getenv("GOCLIP_PLANTED")
	f.Fuzz(func(t *testing.T, data []byte, text string, b byte, n int, yes bool) {
		if !bytes.Contains(data, []byte("a1")) {
			return
		}
		switch plant {
		case "fatal":
			t.Fatal("planted")
		case "panic":
			panic("planted")
		case "error":
			t.Error("planted")
		case "memory":
			kept = make([]byte, 2<<20)
		case "hang":
			for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			}
		}
	})
}

// TestPlanted: a fault that a seed does not have is found, and its input written where go test takes it from.
func TestPlanted(t *testing.T) {
	for plant, says := range map[string]string{"fatal": "planted", "panic": "planted", "error": "planted", "memory": "bytes of memory, at most", "hang": "a second of processor time", "": "PASS"} {
		t.Run(plant, func(t *testing.T) {
			dir := t.TempDir()
			run := func(inputs string) string {
				c := exec.Command(os.Args[0], "-test.run", "^FuzzPlanted$")
				c.Dir = dir
				c.Env = append(os.Environ(), "GOCLIP_INPUTS="+inputs, "GOCLIP_TEST_SEED=3", "GOCLIP_PLANTED="+plant)
				out, err := c.CombinedOutput()
				assert.Equal(t, plant == "", err == nil)
				return string(out)
			}
			out := run("30000")
			assert.Contains(t, out, says)
			if plant == "" {
				assert.Contains(t, out, "FuzzPlanted seed 3: 30000 inputs")
				return
			}
			files := corpus(t, filepath.Join(dir, "testdata", "fuzz", "FuzzPlanted"))
			require.Len(t, files, 1)
			assert.Contains(t, string(files[0][0].([]byte)), "a1")
			assert.Contains(t, run("3"), says, "the input alone")
		})
	}
}

// TestInput: an input depends on its number and seed, not on those before it, and most differ.
func TestInput(t *testing.T) {
	seeds := func() *mutator {
		return &mutator{seeds: [][]any{{[]byte("abcd"), "ef", byte(1), 5, true}, {[]byte("efgh"), "", byte(2), -5, false}}}
	}
	m := seeds()
	var all [][]any
	for i := range 2000 {
		all = append(all, m.input(i, 9))
	}
	assert.Equal(t, all[1234], seeds().input(1234, 9))
	assert.NotEqual(t, all[1234], seeds().input(1234, 8))
	different := map[string]bool{}
	for _, in := range all {
		different[string(in[0].([]byte))] = true
	}
	assert.Greater(t, len(different), 1200)
	assert.Equal(t, []any{[]byte("abcd"), "ef", byte(1), 5, true}, all[0], "seeds stay as they are")
	assert.True(t, slices.ContainsFunc(all, func(in []any) bool { return len(in[0].([]byte)) > 8 }))
}
