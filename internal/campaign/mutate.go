package campaign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// corpus reads the files of a directory in the format of `go test -fuzz`.
func corpus(t testing.TB, dir string) (list [][]any) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		require.Equal(t, "go test fuzz v1", lines[0], e.Name())
		var args []any
		for _, line := range lines[1:] {
			a, err := value(line)
			require.NoError(t, err, e.Name())
			args = append(args, a)
		}
		list = append(list, args)
	}
	return list
}

// value reads a line such as []byte("a"), string("a"), bool(true), int(-5) or byte('\x01').
func value(line string) (any, error) {
	x, err := parser.ParseExpr(line)
	if err != nil {
		return nil, err
	}
	call, ok := x.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return nil, fmt.Errorf("%q is not a value", line)
	}
	kind := line[:call.Lparen-1]
	text := line[call.Lparen : call.Rparen-1]
	switch kind {
	case "[]byte":
		s, err := strconv.Unquote(text)
		return []byte(s), err
	case "string":
		return strconv.Unquote(text)
	case "bool":
		return strconv.ParseBool(text)
	case "int":
		return strconv.Atoi(text)
	case "byte":
		if s, err := strconv.Unquote(text); err == nil {
			r := []rune(s)
			return byte(r[0]), nil
		}
		n, err := strconv.ParseUint(text, 0, 8)
		return byte(n), err
	}
	return nil, fmt.Errorf("%q has another type", line)
}

// mutator draws inputs.
type mutator struct {
	seeds [][]any
	rng   *rand.Rand
	pcg   rand.PCG
}

// most is the length beyond which an input does not grow.
const most = 16 << 10

// input is the i-th of a seed, whatever was drawn before.
func (m *mutator) input(i, seed int) []any {
	if i < len(m.seeds) {
		return m.seeds[i]
	}
	if m.rng == nil {
		m.rng = rand.New(&m.pcg)
	}
	m.pcg.Seed(uint64(seed), uint64(i))
	from := m.seeds[m.rng.IntN(len(m.seeds))]
	args := make([]any, len(from))
	for k, a := range from {
		other := m.seeds[m.rng.IntN(len(m.seeds))][k]
		switch a := a.(type) {
		case []byte:
			args[k] = m.bytes(a, other.([]byte))
		case string:
			args[k] = string(m.bytes([]byte(a), []byte(other.(string))))
		case bool:
			args[k] = m.rng.IntN(2) == 0
		case byte:
			args[k] = byte(m.rng.Uint32())
		case int:
			args[k] = m.number(a)
		default:
			panic(fmt.Sprintf("%T", a))
		}
	}
	return args
}

func (m *mutator) number(n int) int {
	switch m.rng.IntN(4) {
	case 0:
		return n
	case 1:
		return n + m.rng.IntN(17) - 8
	case 2:
		return n ^ 1<<m.rng.IntN(64)
	}
	return int(interesting[m.rng.IntN(len(interesting))])
}

var interesting = []uint64{0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1,
	1 << 32, 1 << 53, 1 << 62, 1<<63 - 1, 1 << 63, 1<<64 - 1}

// bytes changes a copy of data in one to eight places.
func (m *mutator) bytes(data, other []byte) []byte {
	out := make([]byte, len(data), len(data)+64)
	copy(out, data)
	for range 1 << m.rng.IntN(4) {
		out = m.change(out, other)
	}
	return out[:min(len(out), max(most, len(data)))]
}

func (m *mutator) change(b, other []byte) []byte {
	r := m.rng
	if len(b) == 0 {
		return append(b, part(r, other)...)
	}
	at := r.IntN(len(b))
	switch r.IntN(11) {
	case 0:
		b[at] ^= 1 << r.IntN(8)
	case 1:
		b[at] = byte(r.Uint32())
	case 2: // a number in binary
		n := interesting[r.IntN(len(interesting))]
		var word [8]byte
		if r.IntN(2) == 0 {
			binary.LittleEndian.PutUint64(word[:], n)
			copy(b[at:], word[:1<<r.IntN(4)])
		} else {
			binary.BigEndian.PutUint64(word[:], n)
			copy(b[at:], word[8-1<<r.IntN(4):])
		}
	case 3: // a number in digits
		from := at
		for from < len(b) && (b[from] < '0' || b[from] > '9') {
			from++
		}
		to := from
		for to < len(b) && b[to] >= '0' && b[to] <= '9' {
			to++
		}
		if from < to {
			return splice(b, from, to, strconv.AppendUint(nil, interesting[r.IntN(len(interesting))], 10))
		}
	case 4: // an arithmetic step
		b[at] += byte(r.IntN(9) - 4)
	case 5:
		return splice(b, at, min(len(b), at+1+r.IntN(16)), nil)
	case 6: // a longer piece less
		return splice(b, at, at+r.IntN(len(b)-at+1), nil)
	case 7: // a piece of itself again
		return splice(b, at, at, part(r, b))
	case 8: // a piece of another
		return splice(b, at, at, part(r, other))
	case 9: // a piece of another in its place
		p := part(r, other)
		copy(b[at:], p)
	case 10:
		return splice(b, at, at, []byte{byte(r.Uint32())})
	}
	return b
}

// part is a piece of b, more often a short one.
func part(r *rand.Rand, b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	at := r.IntN(len(b))
	n := min(len(b)-at, 1+r.IntN(1<<(2+r.IntN(9))))
	return append([]byte(nil), b[at:at+n]...)
}

func splice(b []byte, from, to int, with []byte) []byte {
	return append(b[:from:from], append(with, b[to:]...)...)
}
