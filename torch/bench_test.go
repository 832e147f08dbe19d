package torch_test

import (
	"testing"

	"github.com/goclip/goclip/torch"
)

// BenchmarkCall is what calling an operator on small tensors costs, its free included: in scopes of
// a hundred results, as a block of a model frees them. benchmarks/op_call.py sets it beside
// Python's.
func BenchmarkCall(b *testing.B) {
	for _, c := range []struct {
		name string
		call func(x, w, v *torch.Tensor) *torch.Tensor
	}{
		{"add", func(x, w, v *torch.Tensor) *torch.Tensor { return x.Add(w) }},
		{"softmax", func(x, w, v *torch.Tensor) *torch.Tensor { return x.Softmax(1) }},
		{"linear", func(x, w, v *torch.Tensor) *torch.Tensor { return x.Linear(w, v) }},
		{"layer_norm", func(x, w, v *torch.Tensor) *torch.Tensor { return x.LayerNorm(v, v, 1e-5) }},
		{"transpose", func(x, w, v *torch.Tensor) *torch.Tensor { return x.Transpose(0, 1) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			err := torch.NoGrad(func(s *torch.Scope) {
				x, w, v := torch.Randn(s, torch.CPU, 4, 4), torch.Randn(s, torch.CPU, 4, 4), torch.Randn(s, torch.CPU, 4)
				b.ReportAllocs()
				for done := 0; done < b.N; done += 100 {
					s.NoGrad(func(s *torch.Scope) {
						x := s.Alias(x)
						for range 100 {
							c.call(x, w, v)
						}
					})
				}
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
