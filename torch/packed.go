package torch

import "slices"

// Packing is how [Tensor.Pack] prepares a weight.
type Packing int

const (
	// PackFloat32 lays the weight out as oneDNN's kernels read it. The products are those of plain
	// float32, summed in another order.
	PackFloat32 Packing = iota + 1
	// PackBFloat16 rounds weights and inputs to bfloat16; sums and results are float32. On a CPU
	// with AMX or AVX-512's bfloat16 it is several times faster, on others slower.
	PackBFloat16
	// PackInt8 rounds each row of the weight to 8 bits with a scale of its own, and the inputs to 8 bits
	// between their smallest and their largest (dynamic quantisation): of each row where the CPU has
	// AVX512-VNNI, elsewhere of each product.
	PackInt8
	// PackBFloat16x3 splits each number of weights and inputs into two of bfloat16, so that a product
	// is three that AMX computes ([BFloat16x3]). It is within 3 2^-16 of its terms' size of float32's.
	// A weight with a number that is not finite is packed as with PackFloat32.
	PackBFloat16x3
)

// packed is a weight that was prepared for products on the CPU.
type packed struct {
	how    Packing
	quick  bool      // for LinearQuickGelu and nothing else
	bias   *Tensor   // the one that Linear is then called with
	plain  *Tensor   // (out, in), with PackBFloat16x3
	weight *Tensor   // opaque, oneDNN's or the tiles of AMX; nil with PackInt8
	rows   *Tensor   // the bias in the weight's type
	bytes  []*Tensor // panels, scales and sums of goclip::pack_int8, with PackInt8 where the CPU has AVX512-VNNI
	object *Object   // FBGEMM's, with PackInt8 elsewhere
}

var (
	opPackTiles = NewOp("goclip::pack_linear")
	opTiles     = NewOp("goclip::packed_linear")
	opReorder   = NewOp("mkldnn::_reorder_linear_weight")
	opPointwise = NewOp("mkldnn::_linear_pointwise")
	opPointAdd  = NewOp("mkldnn::_linear_pointwise.binary")
	opPackInt8  = NewOp("goclip::pack_int8")
	opInt8      = NewOp("goclip::linear_int8")
	opPrepack   = NewOp("quantized::linear_prepack")
	opDynamic   = NewOp("quantized::linear_dynamic")
	opQuantise  = NewOp("aten::quantize_per_channel")
	opAmax      = NewOp("aten::amax")
)

const qint8 = 12 // c10::ScalarType::QInt8

// Pack prepares the float32 weight t (out, in) on the CPU, or (out, ...) as [Tensor.Linear] takes
// it, for many products with this bias, (out) or nil. From then on Linear with both uses what was
// prepared wherever no gradient is recorded. It is a copy: who writes into t or bias afterwards
// calls Pack again. It is freed with t. It may fail by a panic as an operator does.
func (t *Tensor) Pack(bias *Tensor, how Packing) { t.pack(bias, how, false) }

// PackQuickGelu is Pack for [Tensor.LinearQuickGelu], and for nothing else: oneDNN knows x *
// sigmoid(x), which is QuickGELU of what is 1.702 times as large, so weight and bias are multiplied
// by that.
func (t *Tensor) PackQuickGelu(bias *Tensor, how Packing) { t.pack(bias, how, true) }

func (t *Tensor) pack(bias *Tensor, how Packing, quick bool) {
	t.handle("pack")
	if how == PackBFloat16x3 {
		if err := BFloat16x3(); err != nil {
			misuse("pack", "%v", err)
		}
	}
	t.packed.free()
	t.packed = nil
	p := packed{how: how, quick: quick, bias: bias, rows: bias}
	if err := NoGrad(func(s *Scope) {
		w := s.Alias(t).Flatten(1, -1)
		if how == PackBFloat16x3 {
			if tiles := opPackTiles.Call(w); tiles.Numel() > 0 {
				p.weight, p.plain = tiles.Keep(), t
				return
			}
			p.how = PackFloat32
		}
		if quick && how != PackInt8 {
			w = w.MulScalar(quickGelu)
			if bias != nil {
				p.rows = s.Alias(bias).MulScalar(quickGelu)
			}
		}
		switch p.how {
		case PackInt8:
			if b := opPackInt8.All(s, w); b[0].Numel() > 0 {
				p.bytes = []*Tensor{b[0].Keep(), b[1].Keep(), b[2].Keep()}
				return
			}
			scales := opAmax.Call(w.Abs(), []int{1}).ClampMin(1e-12).MulScalar(1. / 127) // (out)
			zeros := opZeros.In(s, []int{t.Size(0)}, Int64)
			p.object = opPrepack.Object(opQuantise.Call(w.Contiguous(), scales.To(CPU, Float64), zeros, 0, qint8), bias)
		case PackBFloat16:
			p.weight = opReorder.Call(w.To(CPU, BFloat16)).Keep()
			if bias != nil {
				p.rows = s.Alias(p.rows).To(CPU, BFloat16)
			}
		default:
			p.weight = opReorder.Call(w).Keep()
		}
		if p.rows != bias {
			p.rows.Keep()
		}
	}); err != nil {
		panic(err)
	}
	t.packed = &p
}

// parts are the tensors that Pack made, which are freed with the weight.
func (p *packed) parts() []*Tensor {
	parts := append([]*Tensor{p.weight}, p.bytes...)
	if p.rows != p.bias {
		parts = append(parts, p.rows)
	}
	return slices.DeleteFunc(parts, func(t *Tensor) bool { return t == nil })
}

func (p *packed) free() {
	if p == nil {
		return
	}
	for _, t := range p.parts() {
		t.Free()
	}
}

// PackedBytes is the size of what [Tensor.Pack] has added to t; 0 without it.
func (t *Tensor) PackedBytes() (bytes int64) {
	p := t.packed
	if p == nil {
		return 0
	}
	for _, part := range p.parts() {
		bytes += int64(part.Numel() * part.DType().Size())
	}
	if p.object != nil {
		bytes += int64(t.Numel()) // FBGEMM's rows of 8 bits
	}
	return bytes
}

// Packed reports whether [Tensor.Pack] prepared t and x records no gradient, so that Linear(t, bias)
// uses it.
func (t *Tensor) Packed(x, bias *Tensor) bool { return t.packedFor(x, bias, false) }

func (t *Tensor) packedFor(x, bias *Tensor, quick bool) bool {
	return t != nil && x != nil && t.packed != nil && t.packed.quick == quick && t.packed.bias == bias && x.scope.inference()
}

// halves reports whether the products read bfloat16 as they read float32, or faster.
func (p *packed) halves() bool { return p.how == PackBFloat16 || p.bytes != nil }

// activation stands behind a product, as csrc numbers them.
type activation int

const (
	plainLinear activation = iota
	thenGelu
	thenQuickGelu
	thenGeluTanh
)

// of is the activation of x.
func (a activation) of(x *Tensor) *Tensor {
	switch a {
	case thenGelu:
		return x.Gelu()
	case thenQuickGelu:
		return x.QuickGelu()
	case thenGeluTanh:
		return x.GeluTanh()
	default:
		return x
	}
}

// linear is x @ weight^T + bias, in bfloat16 if x is and the product reads it ([packed.halves]), else in
// float32.
func (p *packed) linear(x *Tensor) *Tensor {
	switch {
	case p.how == PackBFloat16x3 || p.bytes != nil:
		return p.own(x, plainLinear, nil, nil)
	case p.how == PackInt8:
		return opDynamic.Call(x.Contiguous(), p.object, false)
	default:
		return p.pointwise(x, "none", "").To(CPU, x.DType())
	}
}

// linearAdd is residual + linear, in the residual's type.
func (p *packed) linearAdd(x, residual *Tensor) *Tensor {
	switch {
	case residual.DType() != Float32 || p.how == PackBFloat16 || p.object != nil:
		return residual.Add(p.linear(x))
	case p.how == PackFloat32:
		return opPointAdd.Call(x, residual, p.weight, p.rows, "add")
	default:
		return p.own(x, plainLinear, residual, nil)
	}
}

// linearThen is an activation of linear, as the product with next, or nil, reads it.
func (p *packed) linearThen(a activation, x, next *Tensor) *Tensor {
	switch {
	case p.how == PackBFloat16x3 || p.bytes != nil:
		return p.own(x, a, nil, next)
	case p.how == PackInt8:
		return a.of(p.linear(x))
	case a == thenQuickGelu:
		return p.pointwise(x, "swish", "").MulScalar(1 / quickGelu)
	case a == thenGeluTanh:
		return p.pointwise(x, "gelu", "tanh")
	default:
		return p.pointwise(x, "gelu", "none")
	}
}

// pointwise is the product with an activation of oneDNN's behind it.
func (p *packed) pointwise(x *Tensor, activation, algorithm string) *Tensor {
	if p.how == PackBFloat16 {
		x = x.To(CPU, BFloat16)
	}
	return opPointwise.Call(x, p.weight, p.rows, activation, []float64{}, algorithm)
}

// own is the product of csrc's kernels with an activation behind it and then a residual, which may be nil. next is the weight
// that multiplies it, or nil.
func (p *packed) own(x *Tensor, then activation, residual, next *Tensor) *Tensor {
	if p.bytes != nil {
		return opInt8.Call(x, p.bytes[0], p.bytes[1], p.bytes[2], p.bias, int(then), residual)
	}
	weight := p.plain
	if weight.Dim() > 2 {
		weight = x.Borrow(weight).Flatten(1, -1)
	}
	return opTiles.Call(x, weight, p.weight, p.bias, int(then), residual, next.readsSplit())
}
