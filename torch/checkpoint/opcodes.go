package checkpoint

import "math"

// step does one opcode. The list is what pickles of protocol 2 to 5 use for containers, numbers and strings, with the
// calls that globals.go allows; there are no others.
func (u *unpickler) step(op byte) {
	switch op {
	case 0x80: // PROTO
		if v := u.byte(); v < 2 || v > 5 {
			u.fail("its pickle has the protocol %d; it must be 2 to 5", v)
		}
	case 0x95: // FRAME, a hint for buffering
		u.take(8)
	case '(': // MARK
		u.charge(valueCost)
		u.marks = append(u.marks, len(u.stack))
	case '0': // POP
		u.pop()
	case '1': // POP_MARK
		u.popMark()
	case '2': // DUP
		u.push(u.top())

	case 'N':
		u.push(nil)
	case 0x88: // NEWTRUE
		u.push(true)
	case 0x89: // NEWFALSE
		u.push(false)
	case 'J': // BININT
		u.push(int64(int32(u.uint32())))
	case 'K': // BININT1
		u.push(int64(u.byte()))
	case 'M': // BININT2
		u.push(int64(u.uint16()))
	case 0x8a: // LONG1
		u.long(uint64(u.byte()))
	case 0x8b: // LONG4
		u.long(u.uint32())
	case 'G': // BINFLOAT, big-endian
		bits := uint64(0)
		for _, b := range u.take(8) {
			bits = bits<<8 | uint64(b)
		}
		u.push(math.Float64frombits(bits))

	case 'X', 'T', 'B': // BINUNICODE, and BINSTRING and BINBYTES, which Python 2 made of names
		u.push(u.text(u.uint32()))
	case 0x8c, 'U', 'C': // SHORT_BINUNICODE, SHORT_BINSTRING, SHORT_BINBYTES
		u.push(u.text(uint64(u.byte())))
	case 0x8d, 0x8e: // BINUNICODE8, BINBYTES8
		u.push(u.text(u.uint64()))

	case ')': // EMPTY_TUPLE
		u.push(tuple(nil))
	case 't': // TUPLE
		u.tuple(u.popMark())
	case 0x85, 0x86, 0x87: // TUPLE1, TUPLE2, TUPLE3
		u.tuple(u.popN(int(op - 0x84)))
	case ']': // EMPTY_LIST
		u.charge(valueCost)
		u.push(&list{})
	case 'a': // APPEND
		u.extend(u.popN(1))
	case 'e': // APPENDS
		u.extend(u.popMark())
	case '}': // EMPTY_DICT
		u.charge(valueCost)
		u.push(&dict{})
	case 's': // SETITEM
		u.set(u.popN(2))
	case 'u': // SETITEMS
		u.set(u.popMark())
	case 0x8f: // EMPTY_SET
		u.push(opaque{})
	case 0x90: // ADDITEMS
		u.popMark()

	case 'q': // BINPUT
		u.remember(uint32(u.byte()))
	case 'r': // LONG_BINPUT
		u.remember(uint32(u.uint32()))
	case 0x94: // MEMOIZE
		u.remember(uint32(len(u.memo)))
	case 'h': // BINGET
		u.recall(uint32(u.byte()))
	case 'j': // LONG_BINGET
		u.recall(uint32(u.uint32()))

	case 'c': // GLOBAL
		module := u.line()
		u.global(module, u.line())
	case 0x93: // STACK_GLOBAL
		names := u.popN(2)
		module, ok := names[0].(string)
		name, okToo := names[1].(string)
		if !ok || !okToo {
			u.fail("its pickle names a global by something that is not a string")
		}
		u.global(module, name)
	case 'R': // REDUCE
		u.call()
	case 0x81: // NEWOBJ
		u.newObject()
	case 'b': // BUILD
		u.build()
	case 'Q': // BINPERSID, torch.save's reference to a storage
		id, ok := u.pop().(tuple)
		if !ok || u.load == nil {
			u.fail("its pickle refers to a storage in an unknown way")
		}
		s, err := u.load(id)
		if err != nil {
			panic(fault{err})
		}
		u.charge(memoCost)
		u.push(s)
	default:
		u.fail("its pickle has the opcode %#02x at byte %d, which no checkpoint needs", op, u.pos-1)
	}
}

func (u *unpickler) extend(items []any) {
	switch to := u.top().(type) {
	case *list:
		to.items = append(to.items, items...)
	default:
		u.fail("its pickle appends to something that is not a list")
	}
}

func (u *unpickler) set(items []any) {
	to, ok := u.top().(*dict)
	if !ok || len(items)%2 != 0 {
		u.fail("its pickle sets items of something that is not a dict")
	}
	for i := 0; i < len(items); i += 2 {
		to.keys, to.values = append(to.keys, items[i]), append(to.values, items[i+1])
	}
}
