// Package campaign is what tests of several packages share: how often, by which seed, how much memory
// the process has, and a port of its own.
package campaign

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// FromEnv returns the number that an environment variable has, or other without it.
func FromEnv(t testing.TB, name string, other int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return other
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// Kills returns how often a test kills a program, GOCLIP_KILLS or few times, and what draws when:
// seeded by GOCLIP_TEST_SEED. GOCLIP_SEED is --seed of every train that the test starts.
func Kills(t *testing.T, few int) (n int, rng *rand.Rand) {
	t.Helper()
	seed := FromEnv(t, "GOCLIP_TEST_SEED", 1)
	t.Logf("GOCLIP_TEST_SEED=%d", seed)
	return FromEnv(t, "GOCLIP_KILLS", few), rand.New(rand.NewPCG(uint64(seed), 0))
}

// Resident returns VmRSS of this process, in KiB.
func Resident(t *testing.T) (kib int64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, found := bytes.Cut(status, []byte("VmRSS:"))
	require.True(t, found)
	_, err = fmt.Sscan(string(rest), &kib)
	require.NoError(t, err)
	return kib
}

// Gained compares what a process had in its second quarter, after its warm-up, and in its last, by
// the least of the looks at it in each: what is always held, without what comes and goes.
func Gained[N int64 | float64](looks []N) (early, late N) {
	quarter := len(looks) / 4
	return slices.Min(looks[quarter : 2*quarter]), slices.Min(looks[3*quarter:])
}
