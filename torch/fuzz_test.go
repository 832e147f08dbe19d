package torch_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// FuzzAPI calls the public API in the order, and with the arguments, that the input spells. Whatever
// they are, a call returns or panics with *torch.Error, the process continues, and no handle is lost.
func FuzzAPI(of *testing.F) {
	f := campaign.Inputs(of, 64<<20)
	for seed := range byte(32) { // the committed corpus in testdata/fuzz has longer ones
		in := make([]byte, 256)
		x := uint32(seed) + 1
		for i := range in {
			x = x*1664525 + 1013904223
			in[i] = byte(x >> 24)
		}
		f.Add(in)
	}
	file := filepath.Join(f.TempDir(), "numbers")
	require.NoError(f, os.WriteFile(file, make([]byte, 64), 0o600))
	every, n := 1, 0
	if f.Many() { // collecting what has no scope takes a hundred times as long as the calls
		every = 256
	}
	before := settled.Count(torch.LiveTensors)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 2048 {
			return
		}
		m := &machine{t: t, in: in, file: file}
		require.NoError(t, torch.Do(func(s *torch.Scope) { m.run(s, 0) }))
		for _, x := range m.kept {
			x.Free()
		}
		m.kept, m.pool = nil, nil
		if n++; n%every == 0 {
			require.Equal(t, before, settled.Count(torch.LiveTensors), "of the last %d inputs", every)
		}
	})
}

// machine runs calls on a pool of tensors.
type machine struct {
	t    *testing.T
	in   []byte
	file string
	s    *torch.Scope
	pool []*torch.Tensor
	kept []*torch.Tensor // without a scope

	passed int // calls that did not fail
}

func (m *machine) next() int {
	if len(m.in) == 0 {
		return 0
	}
	b := m.in[0]
	m.in = m.in[1:]
	return int(b)
}

// number is small, or far from what fits.
func (m *machine) number() int {
	n := m.next()
	switch {
	case n < 200:
		return n % 5
	case n < 250:
		return n%9 - 4
	default:
		return []int{1 << 62, -1 << 62, 9, 7, 6, -128}[n-250]
	}
}

func (m *machine) numbers() []int {
	list := make([]int, m.next()%5)
	for i := range list {
		list[i] = m.number()
	}
	return list
}

// shape has few elements, or sizes that no memory holds.
func (m *machine) shape() []int {
	list := make([]int, m.next()%5)
	for i := range list {
		if list[i] = m.number(); list[i] > 7 {
			list[i] = 1 << 62
		}
	}
	return list
}

func (m *machine) real() float64 {
	return []float64{0, 1, -1, 0.5, 2, 1e-30, 1e300, -1e300}[m.next()%8]
}

func (m *machine) dtype() torch.DType {
	if n := m.next(); n < 200 {
		return []torch.DType{torch.Float32, torch.Int64, torch.Bool, torch.Float64, torch.BFloat16, torch.Float16, torch.Uint8}[n%7]
	}
	return torch.DType(m.next())
}

func (m *machine) device() torch.Device {
	if n := m.next(); n < 240 {
		return torch.CPU
	}
	return []torch.Device{{}, {Type: "cuda"}, {Type: "gpu"}, {Type: "cuda", Index: -1}, {Type: "cuda", Index: 1 << 40}}[m.next()%5]
}

// tensor is one of the pool, or nil now and then.
func (m *machine) tensor() *torch.Tensor {
	if n := m.next(); len(m.pool) > 0 && n < 250 {
		return m.pool[n%len(m.pool)]
	}
	return nil
}

func (m *machine) tensors() []*torch.Tensor {
	list := make([]*torch.Tensor, m.next()%4)
	for i := range list {
		list[i] = m.tensor()
	}
	return list
}

func (m *machine) scope() *torch.Scope {
	if m.next() < 200 {
		return m.s
	}
	return nil
}

// add puts small results into the pool.
func (m *machine) add(ts ...*torch.Tensor) {
	for _, t := range ts {
		if t == nil || tryNumel(t) > 4096 {
			continue
		}
		if len(m.pool) < 24 {
			m.pool = append(m.pool, t)
		} else {
			m.pool[m.next()%24] = t
		}
	}
}

func tryNumel(t *torch.Tensor) (n int) {
	defer func() {
		if recover() != nil {
			n = 1 << 62
		}
	}()
	return t.Numel()
}

func (m *machine) run(s *torch.Scope, depth int) {
	outside := m.s
	m.s = s
	if depth == 0 {
		m.add(torch.Ones(s, torch.CPU, torch.Float32, 2, 3), torch.Ones(s, torch.CPU, torch.Float32, 3).SetRequiresGrad(true),
			torch.Zeros(s, torch.CPU, torch.Int64, 2), torch.Ones(s, torch.CPU, torch.Float32, 1, 3, 4, 4),
			torch.Ones(s, torch.CPU, torch.Float32, 1, 1, 4, 4), torch.Ones(nil, torch.CPU, torch.Float32, 3, 3).SetRequiresGrad(true))
	}
	defer func() { m.s = outside }()
	for range 200 {
		if len(m.in) == 0 {
			return
		}
		m.call(depth)
	}
}

// call makes one call, which may fail by *torch.Error.
func (m *machine) call(depth int) {
	n := m.next() % len(calls)
	defer func() {
		if e := recover(); e != nil {
			if _, ok := e.(*torch.Error); !ok {
				m.t.Errorf("call %d: %T: %v", n, e, e)
				panic(e)
			}
		}
	}()
	calls[n](m, depth)
	m.passed++
}

func fails(err error) {
	if err != nil {
		panic(&torch.Error{Op: "test", Msg: err.Error()})
	}
}

// nested runs more calls in a scope of their own, and leaves nothing of it in the pool.
func (m *machine) nested(open func(func(s *torch.Scope)), depth int) {
	pool := len(m.pool)
	outside := append([]*torch.Tensor(nil), m.pool...)
	n := min(len(m.in), m.next())
	rest := m.in[min(n, len(m.in)):]
	m.in = m.in[:min(n, len(m.in))]
	defer func() { m.in, m.pool = rest, outside[:pool] }()
	open(func(s *torch.Scope) { m.run(s, depth+1) })
}
