package train_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/tilemodel"
)

// TestBFloat16x3Run trains with split products and without: the losses are the same within their rounding, and not to the
// bit.
func TestBFloat16x3Run(t *testing.T) {
	model, data := tinyModel(t), shard(t, 44)
	run := func(precision string) []float64 {
		o := options(t, model, data)
		o.Precision, o.Epochs = precision, 2
		sum, err := trained(context.Background(), o, reporter{})
		require.NoError(t, err)
		return losses(t, sum.Dir)
	}
	strict := run("fp32-strict")
	tilemodel.On(t)
	assert.Equal(t, strict, run("fp32-strict"), "it never splits")
	split := run("fp32")
	require.Len(t, split, len(strict))
	for i := range strict {
		assert.InEpsilon(t, strict[i], split[i], 1e-4, "step %d", i+1)
	}
	assert.NotEqual(t, strict, split, "products were split")
}
