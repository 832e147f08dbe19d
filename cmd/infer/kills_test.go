package main

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// fromEnv is a number that an environment variable has, or another without it.
func fromEnv(t *testing.T, name string, other int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return other
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// kills is how often a test kills infer, GOCLIP_KILLS or a few, and when: drawn by GOCLIP_SEED.
func kills(t *testing.T, few int) (n int, rng *rand.Rand) {
	t.Helper()
	seed := fromEnv(t, "GOCLIP_SEED", 1)
	t.Logf("GOCLIP_SEED=%d", seed)
	return fromEnv(t, "GOCLIP_KILLS", few), rand.New(rand.NewPCG(uint64(seed), 0))
}
