package preprocess

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// processMemory is a line of /proc/self/status, in bytes.
func processMemory(t *testing.T, key string) (bytes int64) {
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			_, err := fmt.Sscan(rest, &bytes)
			require.NoError(t, err)
		}
	}
	return bytes << 10
}

// TestSystemDecodersKeepTheirMemory decodes images of 12 megapixels with the libraries of the system, each in a process of its
// own: none takes more than ReadHeader says.
func TestSystemDecodersKeepTheirMemory(t *testing.T) {
	const variable = "GOCLIP_DECODE_ONE"
	if path := os.Getenv(variable); path != "" {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		head, err := ReadHeader(data, DefaultLimits)
		require.NoError(t, err)
		before := processMemory(t, "VmRSS")
		img, err := Decode(t.Context(), data, DefaultLimits)
		require.NoError(t, err)
		assert.Equal(t, [2]int{head.Width, head.Height}, [2]int{img.Width, img.Height})
		fmt.Println("MEMORY", head.Memory, processMemory(t, "VmHWM")-before)
		return
	}
	needHEIF(t)
	needJXL(t)
	needJPEG2000(t)
	z, err := zip.OpenReader(filepath.Join(goldenDir, "large.zip"))
	require.NoError(t, err)
	defer z.Close()
	for _, f := range z.File {
		r, err := f.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), f.Name)
		require.NoError(t, os.WriteFile(path, data, 0o644))
		one := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
		one.Env = append(os.Environ(), variable+"="+path)
		out, err := one.CombinedOutput()
		require.NoError(t, err, "%s: %s", f.Name, out)
		_, line, _ := strings.Cut(string(out), "MEMORY ")
		var told, took int64
		_, err = fmt.Sscan(line, &told, &took)
		require.NoError(t, err, string(out))
		t.Logf("%s: told %d MB, took %d MB", f.Name, told/1e6, took/1e6)
		assert.LessOrEqual(t, took, told, f.Name)
	}
}
