package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// legacyMagic is torch.save's number 0x1950a86a20f9469cfc6c as a pickle of an integer of 10 bytes.
var legacyMagic = []byte("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")

// legacyProtocol is the version of the layout below; there has been no other with this magic.
const legacyProtocol = 1001

func isLegacy(data []byte) bool { return afterMagic(data) > 0 }

// afterMagic is where the magic's pickle ends, 0 if there is none: after PROTO and, from protocol 4 on, FRAME.
func afterMagic(data []byte) int {
	for _, front := range []int{2, 11} {
		if len(data) > front && data[0] == 0x80 && bytes.HasPrefix(data[front:], legacyMagic) {
			return front + len(legacyMagic)
		}
	}
	return 0
}

// parseLegacy reads what torch.save wrote before PyTorch 1.6: pickles of the magic, the layout's version, the machine,
// the object and the list of the storages' keys; then each storage, its number of elements in 8 bytes before it
// (torch/serialization.py, _legacy_save).
func (f *File) parseLegacy(data []byte) error {
	left := pickleMemory
	u := unpickler{in: data, left: &left, pos: afterMagic(data)}
	if v, err := u.run(); err != nil {
		return err
	} else if v != int64(legacyProtocol) { // v may be anything, so it is not printed
		return fmt.Errorf("its layout has another version than %d", legacyProtocol)
	}
	machine, err := u.run()
	if err != nil {
		return err
	}
	if d, ok := machine.(*dict); ok {
		for i, key := range d.keys {
			if key == "little_endian" && d.values[i] != true {
				return errors.New("its numbers are big-endian: goclip reads little-endian files")
			}
		}
	}
	storages := map[string]*storage{}
	u.load = func(id tuple) (*storage, error) { return legacyStorage(id, storages) }
	root, err := u.run()
	if err != nil {
		return err
	}
	u.load = nil
	keys, err := u.run()
	if err != nil {
		return err
	}
	order, ok := keys.(*list)
	if !ok {
		return errors.New("its list of storages is not a list")
	}
	rest := data[u.pos:]
	for _, key := range order.items {
		if rest, err = fill(storages, key, rest); err != nil {
			return err
		}
	}
	if len(rest) != 0 {
		return fmt.Errorf("%d bytes follow the last storage", len(rest))
	}
	return f.weights(root, len(data), &left)
}

// legacyStorage finds or makes the storage that id names, and its view if it names one: (key, offset, elements).
func legacyStorage(id tuple, storages map[string]*storage) (*storage, error) {
	s, err := newStorage(id)
	if err != nil {
		return nil, err
	}
	if known, ok := storages[s.key]; !ok {
		storages[s.key] = s
	} else if known.size != s.size || known.dtype != s.dtype {
		return nil, fmt.Errorf("the storage %s has %d bytes of %s, and %d of %s in another place", printable(s.key), known.size, known.dtype, s.size, s.dtype)
	} else {
		s = known
	}
	if len(id) < 6 || id[5] == nil {
		return s, nil
	}
	view, ok := id[5].(tuple)
	if !ok || len(view) != 3 {
		return nil, errors.New("its pickle refers to a part of a storage in an unknown way")
	}
	from, ok := view[1].(int64)
	count, okToo := view[2].(int64)
	unit := int64(max(1, s.dtype.Size()))
	if !ok || !okToo || from < 0 || count < 0 || from > s.size/unit || count > s.size/unit-from {
		return nil, fmt.Errorf("a part of the storage %s lies outside it", printable(s.key))
	}
	return &storage{key: s.key, dtype: s.dtype, size: count * unit, root: storages[s.key], from: from * unit}, nil
}

// fill gives a storage its bytes from the front of data and returns what follows them.
func fill(storages map[string]*storage, key any, data []byte) ([]byte, error) {
	name, ok := key.(string)
	s := storages[name]
	if !ok || s == nil || s.data != nil {
		return nil, errors.New("its list of storages names one that no tensor has, or one twice")
	}
	if len(data) < 8 {
		return nil, fmt.Errorf("the storage %s is cut off", printable(name))
	}
	unit := uint64(max(1, s.dtype.Size()))
	if count := binary.LittleEndian.Uint64(data); count != uint64(s.size)/unit {
		return nil, fmt.Errorf("the storage %s has %d elements, where its pickle says %d", printable(name), count, uint64(s.size)/unit)
	}
	data = data[8:]
	if uint64(s.size) > uint64(len(data)) {
		return nil, fmt.Errorf("the storage %s of %d bytes goes beyond the end of the file: it is cut off", printable(name), s.size)
	}
	s.data = data[:s.size:s.size]
	return data[s.size:], nil
}
