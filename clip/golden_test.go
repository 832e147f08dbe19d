package clip

import (
	"testing"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
)

func TestMain(m *testing.M) {
	golden.UseVariants()
	m.Run()
}

// goldenModel is a model with the formula's weights.
func goldenModel(t *testing.T, c *tower.Config) *Model {
	t.Helper()
	m := allocate(c)
	golden.Fill(t, c, m.State())
	return m
}
