//go:build soak

package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// TestSoak scores 20,000 pictures by the command's own run, 500 at a time, some of them unreadable.
func TestSoak(t *testing.T) {
	args := []string{"score", "--model", tinyModel(t), "--text", "a face", "--text", "a cup", "--format", "json", "--threads", "1"}
	pictures := []string{"face.png", "cup_444.jpg", "palette.png", "lossless.webp", "none.png"}
	for i := range 500 {
		args = append(args, testPicture(pictures[i%len(pictures)]))
	}
	var kib, handles []int64
	for range 40 {
		code, _, _ := infer(t, "", args...)
		require.Equal(t, 1, code, "one picture is missing")
		for range 3 { // models wait for the collector
			runtime.GC()
		}
		kib, handles = append(kib, resident(t)), append(handles, torch.LiveTensors())
	}
	t.Logf("resident after 5,000 pictures %.1f MiB, after 20,000 %.1f MiB; handles %d and %d", float64(kib[9])/1024, float64(kib[39])/1024, handles[9], handles[39])
	assert.LessOrEqual(t, kib[39]-kib[9], int64(20<<10), "KiB gained")
	assert.LessOrEqual(t, handles[39], handles[9], "handles gained")
}

// resident is VmRSS of this process, in KiB.
func resident(t *testing.T) (kib int64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, found := bytes.Cut(status, []byte("VmRSS:"))
	require.True(t, found)
	_, err = fmt.Sscan(string(rest), &kib)
	require.NoError(t, err)
	return kib
}
