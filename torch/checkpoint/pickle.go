package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// pickleMemory bounds what the values of a file's pickles may take, in bytes as charge counts them. A model of 975
// tensors, as large as CLIP comes (ViT-bigG-14), takes 13 MiB with AdamW's state.
const pickleMemory = 40 << 20

// What a value costs: a place on the stack and in the container that takes it, with the slack of growing slices.
const (
	valueCost = 64
	memoCost  = 128
	tableCost = 1 << 9 // an entry with its shape and its place in the table
)

// errMemory is a pickle that unfolds.
var errMemory = fmt.Errorf("its pickle takes more than %d MiB to unfold", pickleMemory>>20)

// The values of a pickle: nil, bool, int64, float64, string, tuple, *list, *dict, *object, *global, *storage, *tensor,
// and opaque for what no checkpoint reader needs to know.
type (
	tuple  []any
	list   struct{ items []any }
	dict   struct{ keys, values []any } // in the order of the file; a later key of the same name is not looked for here
	object struct {                     // of a TorchScript class
		class string
		state *dict
	}
	opaque struct{}
)

// sequence is what a tuple or a list holds.
func sequence(v any) (items []any, ok bool) {
	switch v := v.(type) {
	case tuple:
		return v, true
	case *list:
		return v.items, true
	}
	return nil, false
}

// unpickler runs a pickle's opcodes (CPython's Lib/pickletools.py describes each). Values only ever come from the input
// and from the calls in the table globals.
type unpickler struct {
	in      []byte
	pos     int
	stack   []any
	marks   []int
	memo    map[uint32]any
	left    *int // memory that the file may still take
	classes bool // TorchScript's: __torch__.* are classes of data
	load    func(id tuple) (*storage, error)
}

// fault carries an error out of the opcodes to run.
type fault struct{ err error }

func (u *unpickler) fail(format string, args ...any) { panic(fault{fmt.Errorf(format, args...)}) }

// charge counts n bytes of memory, before they are taken.
func charge(left *int, n int) error {
	if n > *left {
		return errMemory
	}
	*left -= n
	return nil
}

func (u *unpickler) charge(n int) {
	if err := charge(u.left, n); err != nil {
		panic(fault{err})
	}
}

// run reads one pickle from pos and leaves pos after it.
func (u *unpickler) run() (v any, err error) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case fault:
			v, err = nil, e.err
		default:
			panic(e)
		}
	}()
	u.stack, u.marks, u.memo = nil, nil, map[uint32]any{}
	for {
		op := u.byte()
		if op == '.' { // STOP
			v := u.pop()
			if len(u.stack) != 0 {
				u.fail("its pickle leaves %d values over", len(u.stack))
			}
			return v, nil
		}
		u.step(op)
	}
}

func (u *unpickler) take(n uint64) []byte {
	if n > uint64(len(u.in)-u.pos) {
		panic(fault{errors.New("its pickle is cut off")})
	}
	b := u.in[u.pos:][:n:n]
	u.pos += int(n)
	return b
}

func (u *unpickler) byte() byte     { return u.take(1)[0] }
func (u *unpickler) uint16() uint64 { return uint64(binary.LittleEndian.Uint16(u.take(2))) }
func (u *unpickler) uint32() uint64 { return uint64(binary.LittleEndian.Uint32(u.take(4))) }
func (u *unpickler) uint64() uint64 { return binary.LittleEndian.Uint64(u.take(8)) }

func (u *unpickler) line() string {
	n := bytes.IndexByte(u.in[u.pos:min(len(u.in), u.pos+1<<10)], '\n')
	if n < 0 {
		u.fail("its pickle is cut off in a name")
	}
	return string(u.take(uint64(n) + 1)[:n])
}

// text is a string of n bytes, copied since the file may be unmapped while a name lives on.
func (u *unpickler) text(n uint64) string {
	b := u.take(n)
	u.charge(len(b))
	return string(b)
}

func (u *unpickler) push(v any) {
	u.charge(valueCost)
	u.stack = append(u.stack, v)
}

// floor is the height under which the opcodes of the moment may not reach: the last mark.
func (u *unpickler) floor() int {
	if len(u.marks) == 0 {
		return 0
	}
	return u.marks[len(u.marks)-1]
}

func (u *unpickler) popN(n int) []any {
	if len(u.stack)-u.floor() < n {
		u.fail("its pickle takes a value that is not there, at byte %d", u.pos)
	}
	top := u.stack[len(u.stack)-n:]
	u.stack = u.stack[:len(u.stack)-n]
	return top
}

func (u *unpickler) pop() any { return u.popN(1)[0] }

func (u *unpickler) top() any {
	v := u.pop()
	u.stack = append(u.stack, v)
	return v
}

// popMark takes what lies above the last mark; it is valid until the next push.
func (u *unpickler) popMark() []any {
	if len(u.marks) == 0 {
		u.fail("its pickle lacks a mark, at byte %d", u.pos)
	}
	items := u.stack[u.floor():]
	u.stack = u.stack[:u.floor()]
	u.marks = u.marks[:len(u.marks)-1]
	return items
}

func (u *unpickler) remember(at uint32) {
	u.charge(memoCost)
	u.memo[at] = u.top()
}

func (u *unpickler) recall(at uint32) {
	v, ok := u.memo[at]
	if !ok {
		u.fail("its pickle refers to the value %d, which it never made", at)
	}
	u.push(v)
}

func (u *unpickler) tuple(items []any) { u.push(append(make(tuple, 0, len(items)), items...)) }

// long is a little-endian two's complement integer. One of more than 64 bits is nothing that a tensor needs.
func (u *unpickler) long(n uint64) {
	b := u.take(n)
	if n > 8 {
		u.push(opaque{})
		return
	}
	v := uint64(0)
	for i, x := range b {
		v |= uint64(x) << (8 * i)
	}
	if n > 0 && n < 8 && b[n-1]&0x80 != 0 {
		v |= math.MaxUint64 << (8 * n)
	}
	u.push(int64(v))
}

// printable is a name from the file that may stand in a message of one line.
func printable(name string) string {
	if len(name) > 100 {
		name = name[:100]
	}
	if q := strconv.Quote(name); !utf8.ValidString(name) || q[1:len(q)-1] != name {
		return q
	}
	return name
}
