package torch_test

import (
	"fmt"
	"sync"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/torch/optim"
)

// raw is operators that are called with any arguments.
var raw = []*torch.Op{torch.NewOp("aten::add.Tensor"), torch.NewOp("aten::cumsum"), torch.NewOp("aten::sum.dim_IntList"),
	torch.NewOp("aten::clone"), torch.NewOp("aten::to.dtype_layout"), torch.NewOp("aten::zeros"), torch.NewOp("aten::cat"),
	torch.NewOp("aten::index.Tensor"), torch.NewOp("aten::einsum"), torch.NewOp("aten::addmm"), torch.NewOp("aten::max_pool2d"),
	torch.NewOp("aten::pad"), torch.NewOp("aten::as_strided"), torch.NewOp("aten::sort"), torch.NewOp("aten::unique_consecutive"),
	torch.NewOp("aten::masked_select"), torch.NewOp("aten::nonsense"), torch.NewOp("nothing"), torch.NewOp(""), torch.NewOp("aten::std_mean.correction"),
	torch.NewOp("aten::_nested_tensor_from_tensor_list"), torch.NewOp("aten::to_sparse"), torch.NewOp("aten::complex"), torch.NewOp("aten::quantize_per_tensor")}

func (m *machine) argument() any {
	switch m.next() % 14 {
	case 0, 1, 2, 3:
		return m.tensor()
	case 4:
		return m.number()
	case 5:
		return m.real()
	case 6:
		return m.next()%2 == 0
	case 7:
		return m.numbers()
	case 8:
		return []float64{m.real()}
	case 9:
		return m.tensors()
	case 10:
		return torch.OptTensors(m.tensors())
	case 11:
		return m.dtype()
	case 12:
		return []string{"", "tanh", "ij->ji", "constant"}[m.next()%4]
	default:
		return []any{nil, m.device(), []bool{true}, (*torch.Object)(nil), int8(1)}[m.next()%5]
	}
}

func unary(f func(*torch.Tensor) *torch.Tensor) func(*machine, int) {
	return func(m *machine, _ int) { m.add(f(m.tensor())) }
}

func binary(f func(t, u *torch.Tensor) *torch.Tensor) func(*machine, int) {
	return func(m *machine, _ int) { m.add(f(m.tensor(), m.tensor())) }
}

func dim(f func(t *torch.Tensor, dim int) *torch.Tensor) func(*machine, int) {
	return func(m *machine, _ int) { m.add(f(m.tensor(), m.number())) }
}

func scalar(f func(t *torch.Tensor, v float64) *torch.Tensor) func(*machine, int) {
	return func(m *machine, _ int) { m.add(f(m.tensor(), m.real())) }
}

func shaped(f func(t *torch.Tensor, shape ...int) *torch.Tensor) func(*machine, int) {
	return func(m *machine, _ int) { m.add(f(m.tensor(), m.numbers()...)) }
}

func factory(f func(s *torch.Scope, d torch.Device, dtype torch.DType, shape ...int) *torch.Tensor) func(*machine, int) {
	return func(m *machine, _ int) { m.add(f(m.scope(), m.device(), m.dtype(), m.shape()...)) }
}

type tensor = torch.Tensor

var calls []func(m *machine, depth int)

func init() {
	for _, f := range []func(*tensor) *tensor{(*tensor).Neg, (*tensor).Exp, (*tensor).Log, (*tensor).Sqrt, (*tensor).Abs, (*tensor).Sin,
		(*tensor).Tanh, (*tensor).Erfinv, (*tensor).Sigmoid, (*tensor).LogSigmoid, (*tensor).Relu, (*tensor).Silu, (*tensor).Gelu, (*tensor).GeluTanh,
		(*tensor).QuickGelu, (*tensor).IsFinite, (*tensor).T, (*tensor).Sum, (*tensor).Mean, (*tensor).Max, (*tensor).All, (*tensor).Contiguous,
		(*tensor).Clone, (*tensor).Detach, (*tensor).Grad} {
		calls = append(calls, unary(f))
	}
	for _, f := range []func(t, u *tensor) *tensor{(*tensor).Add, (*tensor).Sub, (*tensor).Mul, (*tensor).Div, (*tensor).Maximum, (*tensor).Eq,
		(*tensor).Le, (*tensor).MatMul, (*tensor).CrossEntropy, (*tensor).MseLoss, (*tensor).Embedding, (*tensor).CopyFrom, (*tensor).Borrow} {
		calls = append(calls, binary(f), binary(f))
	}
	for _, f := range []func(t *tensor, dim int) *tensor{(*tensor).Softmax, (*tensor).LogSoftmax, (*tensor).Unsqueeze, (*tensor).Squeeze, (*tensor).SumDim,
		(*tensor).MeanDim, (*tensor).VarDim, (*tensor).MaxDim, (*tensor).Argmax, (*tensor).Normalize, (*tensor).EqScalar, (*tensor).AvgPool2d,
		(*tensor).ResizeLinear, (*tensor).AddInPlace, torch.ArangeLike} {
		calls = append(calls, dim(f))
	}
	for _, f := range []func(t *tensor, v float64) *tensor{(*tensor).AddScalar, (*tensor).MulScalar, (*tensor).Pow, (*tensor).ClampMin, (*tensor).Dropout,
		(*tensor).Fill, (*tensor).MulInPlace} {
		calls = append(calls, scalar(f))
	}
	for _, f := range []func(t *tensor, shape ...int) *tensor{(*tensor).Reshape, (*tensor).View, (*tensor).Permute} {
		calls = append(calls, shaped(f))
	}
	for _, f := range []func(s *torch.Scope, d torch.Device, dtype torch.DType, shape ...int) *tensor{torch.Zeros, torch.Ones, torch.Empty} {
		calls = append(calls, factory(f), factory(f))
	}
	calls = append(calls,
		func(m *machine, _ int) { m.add(m.tensor().Expand(m.shape()...)) },
		func(m *machine, _ int) { m.add(torch.Randn(m.scope(), m.device(), m.shape()...)) },
		func(m *machine, _ int) { m.add(torch.RandLike(m.tensor(), m.shape()...)) },
		func(m *machine, _ int) { m.add(torch.FromSlice(m.scope(), make([]float32, m.next()%30), m.shape()...)) },
		func(m *machine, _ int) { m.add(torch.FromSlice(m.scope(), []int64{0, 1, 2, -1, 1 << 40, 3}, 2, 3)) },
		func(m *machine, _ int) { m.add(torch.FromSlice(m.scope(), []float32{1, 2, 3, 4, 5, 6}, 2, 3)) },
		func(m *machine, _ int) {
			m.add(torch.FromSlice(m.scope(), []float32{1, 2, 3, 4}, 4).SetRequiresGrad(true))
		},
		func(m *machine, _ int) {
			m.add(torch.FromBytes(m.scope(), make([]byte, m.next()), m.dtype(), m.shape()...))
		},
		func(m *machine, _ int) { m.add(torch.FromSliceLike(m.tensor(), []bool{true, false}, m.shape()...)) },
		func(m *machine, _ int) { m.add(m.tensor().To(m.device(), m.dtype())) },
		func(m *machine, _ int) { m.add(m.tensor().Transpose(m.number(), m.number())) },
		func(m *machine, _ int) { m.add(m.tensor().Flatten(m.number(), m.number())) },
		func(m *machine, _ int) { m.add(m.tensor().Select(m.number(), m.number())) },
		func(m *machine, _ int) { m.add(m.tensor().Narrow(m.number(), m.number(), m.number())) },
		func(m *machine, _ int) { m.add(m.tensor().Unbind(m.number())...) },
		func(m *machine, _ int) { m.add(m.tensor().Split(m.number(), m.numbers()...)...) },
		func(m *machine, _ int) { m.add(m.tensor().Gather(m.number(), m.tensor())) },
		func(m *machine, _ int) { m.add(m.tensor().IndexSelect(m.number(), m.tensor())) },
		func(m *machine, _ int) { m.add(m.tensor().Index(m.tensors()...)) },
		func(m *machine, _ int) { m.add(torch.Cat(m.number(), m.tensors()...)) },
		func(m *machine, _ int) { m.add(torch.Stack(m.number(), m.tensors()...)) },
		func(m *machine, _ int) { m.add(m.tensor().Where(m.tensor(), m.tensor())) },
		func(m *machine, _ int) { m.add(m.tensor().MaskedFill(m.tensor(), m.real())) },
		func(m *machine, _ int) { m.add(m.tensor().Clamp(m.real(), m.real())) },
		func(m *machine, _ int) { m.tensor().UniformInPlace(m.real(), m.real()) },
		func(m *machine, _ int) { m.tensor().NormalInPlace(m.real(), m.real()) },
		func(m *machine, _ int) { m.tensor().ClampInPlace(m.real(), m.real()) },
		func(m *machine, _ int) { m.add(m.tensor().Linear(m.tensor(), m.tensor())) },
		func(m *machine, _ int) { m.add(m.tensor().LinearGelu(m.tensor(), m.tensor(), m.tensor())) },
		func(m *machine, _ int) { m.add(m.tensor().LinearQuickGelu(m.tensor(), m.tensor(), m.tensor())) },
		func(m *machine, _ int) {
			m.add(m.tensor().Conv2d(m.tensor(), m.tensor(), m.number(), m.number()%8, m.number()))
		},
		func(m *machine, _ int) { m.add(m.tensor().LayerNorm(m.tensor(), m.tensor(), m.real())) },
		func(m *machine, _ int) {
			m.add(m.tensor().BatchNorm(m.tensor(), m.tensor(), m.tensor(), m.tensor(), m.next()%2 == 0, m.real(), m.real()))
		},
		func(m *machine, _ int) {
			m.add(torch.ScaledDotProductAttention(m.tensor(), m.tensor(), m.tensor(), m.next()%2 == 0))
		},
		func(m *machine, _ int) {
			m.add(torch.MaskedAttention(m.tensor(), m.tensor(), m.tensor(), m.tensor(), m.real()))
		},
		func(m *machine, _ int) {
			starts := torch.FromSlice(m.s, []int32{0, int32(m.number()), int32(m.number())}, 3)
			m.add(torch.VarlenAttention(m.tensor(), m.tensor(), m.tensor(), torch.Sequences{Starts: starts}, torch.Sequences{Starts: starts}, m.next()%2 == 0))
		},
		func(m *machine, _ int) { m.add(m.tensor().ResizeBicubic(m.number()%8, m.number()%8)) },
		func(m *machine, _ int) { v, i := m.tensor().TopK(m.number(), m.number(), m.next()%2 == 0); m.add(v, i) },
		func(m *machine, _ int) { _ = m.tensor().Shape() },
		func(m *machine, _ int) { _ = m.tensor().Size(m.number()) },
		func(m *machine, _ int) { _, _, _ = m.tensor().DType(), m.tensor().Device(), m.tensor().IsContiguous() },
		func(m *machine, _ int) { m.tensor().Item() },
		func(m *machine, _ int) { _ = fmt.Sprint(m.tensor()) },
		func(m *machine, _ int) { _ = fmt.Sprint(m.tensor()) },
		func(m *machine, _ int) { torch.ToSlice[float32](m.tensor()) },
		func(m *machine, _ int) { torch.ToBytes(m.tensor()) },
		func(m *machine, _ int) { m.tensor().WriteBytes(m.number(), make([]byte, m.next())) },
		func(m *machine, _ int) { m.tensor().ShareStorage(m.tensor(), m.number(), m.shape()...) },
		func(m *machine, _ int) { m.tensor().Backward() },
		func(m *machine, _ int) { m.tensor().Sum().Backward() },
		func(m *machine, _ int) { m.tensor().BackwardFrom(m.tensor()) },
		func(m *machine, _ int) { m.add(torch.Gradients(m.tensor(), m.tensors()...)...) },
		func(m *machine, _ int) { m.add(torch.Grads(m.scope(), m.tensors())...) },
		func(m *machine, _ int) { m.tensor().SetGrad(m.tensor()) },
		func(m *machine, _ int) { torch.ZeroGrad(m.tensors()) },
		func(m *machine, _ int) { m.add(m.tensor().SetRequiresGrad(m.next()%3 > 0)) },
		func(m *machine, _ int) { m.tensor().Set(m.tensor()) },
		func(m *machine, _ int) { m.tensor().Free() },
		func(m *machine, _ int) { x := m.tensor().Keep(); m.kept = append(m.kept, x) },
		func(m *machine, _ int) { m.add(m.scope().Alias(m.tensor())) },
		func(m *machine, _ int) { m.tensor().Same(m.tensor()) },
		func(m *machine, _ int) { m.s.Autocast(m.device(), m.dtype()) },
		func(m *machine, _ int) { m.tensor().Pack(m.tensor(), torch.Packing(m.next()%4)) },
		func(m *machine, _ int) { m.tensor().PackQuickGelu(m.tensor(), torch.Packing(m.next()%4)) },
		func(m *machine, _ int) {
			p := m.tensor().Pointer()
			defer torch.FreePointer(p)
			m.add(torch.FromPointer(m.scope(), p))
		},
		func(m *machine, _ int) {
			x, err := torch.FromFile(m.file, m.number())
			fails(err)
			m.add(x)
		},
		func(m *machine, _ int) { torch.ManualSeed(uint64(m.next())) },
		func(m *machine, _ int) {
			state := torch.RNGState(m.device())
			state[m.next()*19%len(state)] ^= byte(m.next() % 2)
			fails(torch.SetRNGState(torch.CPU, state[:len(state)-m.next()/250]))
		},
		func(m *machine, _ int) { torch.SetNumThreads(m.number() % 3) },
		func(m *machine, _ int) {
			_, err := torch.ParseDevice([]string{"", "cpu", "cuda:9", "auto"}[m.next()%4])
			fails(err)
		},
		func(m *machine, _ int) {
			u, err := torch.NewUpload([]int64{1, 2}, m.device(), m.shape()...)
			fails(err)
			m.add(m.s.Alias(u.Tensor()).Clone())
			u.Free()
		},
		func(m *machine, _ int) { _, err := torch.Capture(m.device(), func() error { return nil }); fails(err) },
		func(m *machine, depth int) {
			if depth < 3 {
				m.nested(func(f func(s *torch.Scope)) { m.s.NoGrad(f) }, depth)
			}
		},
		func(m *machine, depth int) {
			if depth < 3 {
				m.nested(func(f func(s *torch.Scope)) { fails(torch.Do(f)) }, depth)
			}
		},
		func(m *machine, depth int) {
			if depth < 3 {
				m.nested(func(f func(s *torch.Scope)) { _, err := torch.FirstNonFinite(f); fails(err) }, depth)
			}
		},
		func(m *machine, depth int) {
			x := m.tensor()
			m.add(torch.Tidy(func(x *torch.Tensor) *torch.Tensor { m.add(x); m.call(depth + 1); return m.tensor() }, x))
		},
		func(m *machine, depth int) {
			n, x := m.next(), m.tensor()
			m.add(torch.Recompute(func(x, side *torch.Tensor) *torch.Tensor {
				return []func() *torch.Tensor{x.Exp, func() *torch.Tensor { return x.Mul(side) }, func() *torch.Tensor { return x.Dropout(0.5) },
					func() *torch.Tensor { return nil }}[n%4]()
			}, x, m.tensor(), m.tensors()...))
		},
		func(m *machine, _ int) { // another goroutine has no right to the scope
			var wg sync.WaitGroup
			wg.Go(func() {
				defer func() { _ = recover().(*torch.Error) }()
				torch.Zeros(m.s, torch.CPU, torch.Float32, 2)
			})
			wg.Wait()
		},
		func(m *machine, _ int) {
			layer := []func(a, b int) nn.Module{func(a, b int) nn.Module { return nn.NewLinear(a, b) },
				func(a, b int) nn.Module { return nn.NewPatches(a, b%8) }, func(a, b int) nn.Module { return nn.NewMultiheadAttention(a, b) },
				func(a, b int) nn.Module { return nn.NewEmbedding(a, b) }, func(a, _ int) nn.Module { return nn.NewLayerNorm(a) }}[m.next()%5]
			small := func() int {
				if n := m.number(); n <= 7 {
					return n
				}
				return 1 << 62
			}
			l := layer(small(), small())
			defer func() {
				for _, p := range nn.State(l) {
					p.Free()
				}
			}()
			m.add(l.Forward(m.tensor()))
		},
		func(m *machine, _ int) {
			groups := optim.OneGroup(func(yield func(string, *torch.Tensor) bool) { yield("x", m.tensor()) }, m.real())
			o := optim.NewSGD(groups, optim.SGDOptions{LR: m.real(), Momentum: m.real(), Nesterov: m.next()%2 == 0})
			fails(o.Step())
			fails(o.Step())
			for _, x := range o.State() {
				x.Free()
			}
		},
		func(m *machine, _ int) {
			groups := optim.OneGroup(func(yield func(string, *torch.Tensor) bool) { yield("x", m.tensor()) }, m.real())
			o := optim.NewAdamW(groups, optim.AdamWDefaults(m.real()))
			defer func() {
				for _, x := range o.State() {
					x.Free()
				}
			}()
			fails(o.Step())
			_, err := optim.ClipGradNorm(o.Parameters(), m.real())
			fails(err)
		},
	)
	for range 12 {
		calls = append(calls, func(m *machine, _ int) {
			op := raw[m.next()%len(raw)]
			args := make([]any, m.next()%6)
			for i := range args {
				args[i] = m.argument()
			}
			m.add(op.All(m.scope(), args...)...)
		})
	}
}
