package train

import (
	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

// precisions are the values of Config.Precision. Weights and moments stay float32 in all but
// pure_bf16: bfloat16 and float16 are then what products are computed in.
var precisions = map[string]precision{
	"fp32":         {weights: torch.Float32, splits: true},
	"fp32-strict":  {weights: torch.Float32},
	"amp_bf16":     {weights: torch.Float32, products: torch.BFloat16, amp: true},
	"amp_bfloat16": {weights: torch.Float32, products: torch.BFloat16, amp: true},
	"bf16":         {weights: torch.Float32, products: torch.BFloat16, amp: true},
	"amp":          {weights: torch.Float32, products: torch.Float16, amp: true, scales: true},
	"fp16":         {weights: torch.Float32, products: torch.Float16, amp: true, scales: true},
	"pure_bf16":    {weights: torch.BFloat16},
}

type precision struct {
	name     string
	weights  torch.DType
	products torch.DType // with amp
	amp      bool
	splits   bool // float32 products are three of bfloat16 where the CPU has AMX
	scales   bool // float16's gradients underflow, unless the loss is scaled up
}

// choosePrecision is the one of that name; auto is float32 on the CPU, bfloat16 products on CUDA, and
// float16 products on devices before Ampere, which have no fast ones in bfloat16.
func choosePrecision(name string, device torch.Device) precision {
	if name == "auto" {
		switch {
		case device == torch.CPU:
			name = "fp32"
		case device.HasBFloat16():
			name = "amp_bf16"
		default:
			name = "amp"
		}
	}
	p := precisions[name]
	p.name = name
	p.splits = p.splits && device == torch.CPU && torch.BFloat16x3() == nil
	return p
}

func (p precision) enter(s *torch.Scope, device torch.Device) {
	if p.amp {
		s.Autocast(device, p.products)
	}
	if p.splits {
		s.BFloat16x3()
	}
}

// convert gives the model the precision's weights.
func (p precision) convert(m *clip.Model) error {
	if p.weights == torch.Float32 {
		return nil
	}
	return m.Cast(p.weights)
}

// computes is what a precision's products are in.
func (p precision) computes() torch.DType {
	if p.amp {
		return p.products
	}
	return p.weights
}

// String is the precision with what it does beyond its name.
func (p precision) String() string {
	if p.splits {
		return p.name + " (products of three in bfloat16 on AMX)"
	}
	return p.name
}

// scaler is the factor on the loss that keeps float16's gradients above its smallest number: halved
// when one overflows, and doubled after 2000 steps without (torch.amp.GradScaler's constants).
type scaler struct {
	Factor float64 `json:"factor"`
	Good   int     `json:"good"` // steps since the last overflow
}

const scalerInterval = 2000

func newScaler() *scaler { return &scaler{Factor: 65536} }

// update follows a step, whose gradients were finite or not.
func (s *scaler) update(finite bool) {
	if !finite {
		s.Factor, s.Good = s.Factor/2, 0
		return
	}
	if s.Good++; s.Good == scalerInterval {
		s.Factor, s.Good = 2*s.Factor, 0
	}
}

// factor is the scaler's, 1 without one.
func (t *stepper) factor() float64 {
	if t.scaler == nil {
		return 1
	}
	return t.scaler.Factor
}

// scaled is a gradient times the scaler's factor.
func (t *stepper) scaled(gradient *torch.Tensor) *torch.Tensor {
	if t.scaler == nil {
		return gradient
	}
	return gradient.MulScalar(t.scaler.Factor)
}
