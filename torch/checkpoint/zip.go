package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The records of a zip file and the lengths of their fixed parts (PKWARE's APPNOTE.TXT, section 4.3).
const (
	localSignature     = "PK\x03\x04"
	centralSignature   = "PK\x01\x02"
	endSignature       = "PK\x05\x06"
	end64Signature     = "PK\x06\x06"
	locator64Signature = "PK\x06\x07"

	localLength     = 30
	centralLength   = 46
	endLength       = 22
	end64Length     = 56
	locator64Length = 20
)

const (
	maxMembers    = 1 << 16 // torch.save makes a member of each storage
	maxMemberName = 1 << 10
)

// archive holds the members of a zip file. The members of torch.save are stored as they are, so that data is part of
// the file; a compressed one has none, and reading it is an error: nothing that could swell is ever unpacked.
//
// archive/zip would read these files too, and more: it accepts members that overlap, lie in one
// another or have another name in their own header, a 64-bit end record that contradicts the other
// one, and bytes after the end.
type archive map[string]member

type member struct {
	name   string
	header uint64 // where the local header begins
	packed uint64 // bytes in the file
	stored bool
	data   []byte
}

// isZip tells a zip file from a safetensors file whose header happens to have 67,324,752 bytes.
func isZip(data []byte) bool {
	return bytes.HasPrefix(data, []byte(localSignature)) && (len(data) < 9 || data[8] != '{')
}

// openZip reads the directory. It is stricter than unzip: whatever two readers could understand in two ways is refused.
func openZip(file []byte) (archive, error) {
	at, size, count, err := findDirectory(file)
	if err != nil {
		return nil, err
	}
	if count > maxMembers {
		return nil, fmt.Errorf("the zip archive has %d members, more than %d", count, maxMembers)
	}
	if count > size/centralLength {
		return nil, fmt.Errorf("the zip archive's directory of %d bytes cannot list %d members", size, count)
	}
	members := make([]member, 0, count)
	rest := file[at : at+size]
	for range count {
		var m member
		if m, rest, err = readCentral(rest); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	if len(rest) != 0 {
		return nil, errors.New("the zip archive's directory lists more members than it counts")
	}
	slices.SortFunc(members, func(a, b member) int {
		if a.header < b.header {
			return -1
		}
		return int(min(a.header-b.header, 1))
	})
	a := make(archive, len(members))
	for i, m := range members {
		end := at
		if i+1 < len(members) {
			end = min(end, members[i+1].header)
		}
		if m.data, err = m.locate(file, end); err != nil {
			return nil, err
		}
		if _, twice := a[m.name]; twice {
			return nil, fmt.Errorf("the zip archive has two members called %q", m.name)
		}
		a[m.name] = m
	}
	return a, nil
}

// findDirectory finds the central directory, whose end record, with a comment after it perhaps, is the end of the file.
func findDirectory(file []byte) (at, size, count uint64, err error) {
	tail := file[max(0, len(file)-endLength-math.MaxUint16):]
	end := bytes.LastIndex(tail, []byte(endSignature))
	if end < 0 || len(tail)-end < endLength {
		return 0, 0, 0, errors.New("the zip archive has no directory at its end: it is cut off")
	}
	record := tail[end:]
	if comment := int(binary.LittleEndian.Uint16(record[20:])); len(record) != endLength+comment {
		return 0, 0, 0, errors.New("the zip archive's end is malformed")
	}
	count = uint64(binary.LittleEndian.Uint16(record[10:]))
	size = uint64(binary.LittleEndian.Uint32(record[12:]))
	at = uint64(binary.LittleEndian.Uint32(record[16:]))
	limit := uint64(len(file) - len(record))
	if limit >= locator64Length && string(file[limit-locator64Length:][:4]) == locator64Signature {
		limit -= locator64Length
		where := binary.LittleEndian.Uint64(file[limit+8:])
		if limit < end64Length || where > limit-end64Length || string(file[where:][:4]) != end64Signature {
			return 0, 0, 0, errors.New("the zip archive's 64-bit end is malformed")
		}
		record := file[where:]
		count, size, at = binary.LittleEndian.Uint64(record[32:]), binary.LittleEndian.Uint64(record[40:]), binary.LittleEndian.Uint64(record[48:])
		limit = where
	}
	if size > limit || at != limit-size {
		return 0, 0, 0, errors.New("the zip archive's directory is not where its end says: the file is cut off or something was put before it")
	}
	return at, size, count, nil
}

// readCentral reads one member of the directory and gives back what follows it.
func readCentral(d []byte) (m member, rest []byte, err error) {
	if len(d) < centralLength || string(d[:4]) != centralSignature {
		return m, nil, errors.New("the zip archive's directory is malformed")
	}
	names, extras, comment := int(binary.LittleEndian.Uint16(d[28:])), int(binary.LittleEndian.Uint16(d[30:])), int(binary.LittleEndian.Uint16(d[32:]))
	if len(d) < centralLength+names+extras+comment {
		return m, nil, errors.New("the zip archive's directory is cut off")
	}
	if names > maxMemberName {
		return m, nil, fmt.Errorf("the zip archive has a member's name of %d bytes, more than %d", names, maxMemberName)
	}
	m.name = string(d[centralLength:][:names])
	if !safeName(m.name) {
		return m, nil, fmt.Errorf("the zip archive has a member called %q, which points outside it", m.name)
	}
	flags, method := binary.LittleEndian.Uint16(d[8:]), binary.LittleEndian.Uint16(d[10:])
	if flags&1 != 0 {
		return m, nil, fmt.Errorf("the zip archive's member %q is encrypted", m.name)
	}
	m.packed = uint64(binary.LittleEndian.Uint32(d[20:]))
	size := uint64(binary.LittleEndian.Uint32(d[24:]))
	m.header = uint64(binary.LittleEndian.Uint32(d[42:]))
	if err := wide(d[centralLength+names:][:extras], &size, &m.packed, &m.header); err != nil {
		return m, nil, fmt.Errorf("the zip archive's member %q: %w", m.name, err)
	}
	m.stored = method == 0
	if m.stored && size != m.packed {
		return m, nil, fmt.Errorf("the zip archive's member %q is stored as it is, and yet of %d bytes in %d", m.name, size, m.packed)
	}
	return m, d[centralLength+names+extras+comment:], nil
}

// wide replaces those of the 32-bit fields that are all ones by the 64-bit ones of the extra record 1.
func wide(extra []byte, fields ...*uint64) error {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if n > len(extra)-4 {
			return errors.New("its extra fields are cut off")
		}
		body := extra[4:][:n]
		extra = extra[4+n:]
		if id != 1 {
			continue
		}
		for _, f := range fields {
			if *f != math.MaxUint32 {
				continue
			}
			if len(body) < 8 {
				return errors.New("its 64-bit sizes are cut off")
			}
			*f, body = binary.LittleEndian.Uint64(body), body[8:]
		}
		return nil
	}
	return nil
}

// safeName refuses names that would leave the directory into which someone unpacks the archive.
func safeName(name string) bool {
	return name != "" && name[0] != '/' && !strings.ContainsAny(name, "\\\x00") && !strings.Contains("/"+name+"/", "/../")
}

// locate checks the member's local header and gives its bytes, which must end before the next header at end.
func (m member) locate(file []byte, end uint64) ([]byte, error) {
	if end < localLength || m.header > end-localLength {
		return nil, fmt.Errorf("the zip archive's member %q lies outside the file or over the one after it", m.name)
	}
	h := file[m.header:]
	names, extras := int(binary.LittleEndian.Uint16(h[26:])), int(binary.LittleEndian.Uint16(h[28:]))
	start := m.header + localLength + uint64(names) + uint64(extras)
	if string(h[:4]) != localSignature || start > end || string(h[localLength:][:names]) != m.name {
		return nil, fmt.Errorf("the zip archive's member %q has another header than the directory says", m.name)
	}
	if m.packed > end-start {
		return nil, fmt.Errorf("the zip archive's member %q of %d bytes lies over the one after it", m.name, m.packed)
	}
	if !m.stored {
		return nil, nil
	}
	return file[start : start+m.packed : start+m.packed], nil
}

// read gives a member's bytes.
func (a archive) read(name string) ([]byte, error) {
	m, ok := a[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("the archive holds no %s", printable(name))
	case !m.stored:
		return nil, fmt.Errorf("the archive's member %s is compressed, which torch.save never does: unpack it and pack it without compression (zip -0)", printable(name))
	}
	return m.data, nil
}
