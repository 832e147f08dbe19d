//go:build memory

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/estimate"
)

// TestTraffic counts the bytes on the loopback device of a step of 2 and 4 processes: the
// difference between a long run and a short one, over their difference in steps. Nothing else may
// use the device meanwhile.
func TestTraffic(t *testing.T) {
	c, err := tower.LookupConfig("emoji-64")
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	fmt.Println("| processes | batch | estimate, MB a step | measured | ratio |\n|---|---|---|---|---|")
	for _, world := range []int{2, 4} {
		for _, batch := range []int{64, 512} {
			received := func(steps int) float64 {
				before := loopback(t)
				cmd := process("--model", "emoji-64", "--dataset-type", "synthetic", "--train-num-samples", fmt.Sprint(batch*steps), "--batch-size", fmt.Sprint(batch/world),
					"--epochs", "1", "--warmup", "1", "--workers", "1", "--device", "cpu", "--save-frequency", "0", "--save-every-minutes", "0",
					"--logs", t.TempDir(), "--name", "run", "--nproc-per-node", fmt.Sprint(world))
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, string(out))
				return loopback(t) - before
			}
			const short, long = 3, 9
			measured := (received(long) - received(short)) / (long - short)
			estimate := float64(world) * estimate.TrafficOf(world, batch, c.EmbedDim, m.NumParameters()).Total()
			fmt.Printf("| %d | %d | %.1f | %.1f | %.3f |\n", world, batch, estimate/1e6, measured/1e6, measured/estimate)
			assert.InDelta(t, 1, measured/estimate, 0.05)
		}
	}
}

// loopback is how many bytes the device has received.
func loopback(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/sys/class/net/lo/statistics/rx_bytes")
	require.NoError(t, err)
	n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	require.NoError(t, err)
	return n
}
