package torch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestPrint holds against what Python prints (testdata/nn/make_goldens.py).
func TestPrint(t *testing.T) {
	text, err := os.ReadFile("../testdata/nn/print.json")
	require.NoError(t, err)
	var cases []struct {
		DType, Text, Grad string
		Shape             []int
		Values            []string
		Scale             float64
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	dtypes := map[string]torch.DType{}
	for d := torch.DType(0); d < 30; d++ {
		dtypes[d.String()] = d
	}
	for _, c := range cases {
		n := 1
		for _, d := range c.Shape {
			n *= d
		}
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(i) * c.Scale
			if c.Values != nil {
				values[i], err = strconv.ParseFloat(c.Values[i], 64)
				require.NoError(t, err)
			}
		}
		do(t, func(s *torch.Scope) {
			x := torch.FromSlice(s, values, c.Shape...).To(torch.CPU, dtypes[c.DType])
			if c.Grad != "" {
				x.SetRequiresGrad(true)
			}
			if c.Grad == "mul" {
				x = x.Mul(torch.FromSlice(s, []float64{2}).To(torch.CPU, torch.Float32))
			}
			live := settled.Count(torch.LiveTensors)
			assert.Equal(t, c.Text, x.String(), "%s%v", c.DType, c.Shape)
			assert.Equal(t, live, torch.LiveTensors())
		})
	}
	assert.NotEmpty(t, cases)
}

func TestPrintWithoutNumbers(t *testing.T) {
	var none *torch.Tensor
	assert.Equal(t, "nil", none.String())
	kept := torch.FromSlice(nil, []float32{1}, 1)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		assert.Equal(t, "tensor([1.])", fmt.Sprint(s.Alias(kept)))
	}))
	kept.Free()
	assert.Equal(t, "freed tensor", kept.String())
	assert.Equal(t, "freed tensor", new(torch.Tensor).Summary())
	nested := torch.NewOp("aten::_nested_tensor_from_tensor_list")
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		x := nested.Call([]*torch.Tensor{torch.Ones(s, torch.CPU, torch.Float32, 2), torch.Ones(s, torch.CPU, torch.Float32, 3)})
		assert.Equal(t, "a nested tensor has no shape", fmt.Sprint(x))
	}))
}
