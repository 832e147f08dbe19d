package checkpoint_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch/checkpoint"
)

// patch changes the record of the central directory, or the end record, that begins at the n-th such signature.
func patch(t *testing.T, data []byte, signature string, n int, change func(record []byte)) []byte {
	data = bytes.Clone(data)
	at := -1
	for range n + 1 {
		next := bytes.Index(data[at+1:], []byte(signature))
		require.GreaterOrEqual(t, next, 0)
		at += 1 + next
	}
	change(data[at:])
	return data
}

func put32(at int, v uint32) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
}

func put16(at int, v uint16) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint16(b[at:], v) }
}

const (
	central = "PK\x01\x02"
	ending  = "PK\x05\x06"
)

func TestHostileZips(t *testing.T) {
	good := tensorPickle("0", 8, 0, []int{8}, []int{1})
	plain := archive(t, good)
	var bomb bytes.Buffer
	w := zip.NewWriter(&bomb)
	m, err := w.Create("a/data.pkl")
	require.NoError(t, err)
	_, err = m.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())

	// The header of the member b inside the data of the member a: both would be given the same bytes.
	inner := "PK\x03\x04" + strings.Repeat("\x00", 22) + "\x08\x00\x00\x00a/data/1" + strings.Repeat("x", 32)
	nested := pack(t, "a/data.pkl", good, "a/data/0", inner, "a/data/1", strings.Repeat("x", 32))
	nested = patch(t, nested, central, 2, put32(42, uint32(bytes.Index(nested, []byte(inner)))))

	extra := func(field string) []byte { // of the member a/data/0
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for _, m := range [][2]string{{"a/data.pkl", good}, {"a/data/0", strings.Repeat("0123", 8)}} {
			out, err := w.CreateHeader(&zip.FileHeader{Name: m[0], Method: zip.Store, Extra: []byte(field)})
			require.NoError(t, err)
			_, err = out.Write([]byte(m[1]))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	_, err = checkpoint.Parse("good.pt", extra("\x07\x00\x01\x00x\x08\x00\x00\x00"))
	require.NoError(t, err)

	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"extra field of nothing", "its extra fields are cut off", extra("\x07\x00\x03\x00")},
		{"64-bit sizes of nothing", "its 64-bit sizes are cut off", patch(t, extra("\x01\x00\x00\x00"), central, 1, put32(24, 1<<32-1))},
		{"no directory", "no directory at its end", plain[:len(plain)-30]},
		{"signature alone", "no directory at its end", []byte("PK\x03\x04 nothing")},
		{"bytes after the end", "end is malformed", append(bytes.Clone(plain), 0)},
		{"directory elsewhere", "not where its end says", patch(t, plain, ending, 0, put32(16, 3))},
		{"huge directory", "not where its end says", patch(t, plain, ending, 0, put32(12, 1<<31))},
		{"count too large", "cannot list 5000 members", patch(t, plain, ending, 0, put16(10, 5000))},
		{"count one more", "cannot list 5 members", patch(t, plain, ending, 0, put16(10, 5))},
		{"record", "directory is malformed", patch(t, plain, central, 1, put16(2, 7))},
		{"count one less", "more members than it counts", patch(t, plain, ending, 0, put16(10, 3))},
		{"name beyond", "directory is cut off", patch(t, plain, central, 3, put16(28, 9000))},
		{"long name", "a member's name of 2000 bytes", pack(t, strings.Repeat("a", 2000), "")},
		{"outside", "points outside it", pack(t, "a/data.pkl", good, "a/../../b", "")},
		{"absolute", "points outside it", pack(t, "/a/data.pkl", good)},
		{"backslash", "points outside it", pack(t, `a\data.pkl`, good)},
		{"twice", `two members called "a/data/0"`, pack(t, "a/data.pkl", good, "a/data/0", "1", "a/data/0", "2")},
		{"overlap", "lies over the one after it", patch(t, plain, central, 2, func(b []byte) { put32(20, 90)(b); put32(24, 90)(b) })},
		{"absurd size", "lies over the one after it", patch(t, plain, central, 2, func(b []byte) { put32(20, 1<<32-2)(b); put32(24, 1<<32-2)(b) })},
		{"nested member", "lies over the one after it", nested},
		{"same member", "lies outside the file or over the one after it", patch(t, plain, central, 3, put32(42, 0))},
		{"header outside", "lies outside the file", patch(t, plain, central, 3, put32(42, 1<<31))},
		{"two headers outside", "lies outside the file", patch(t, patch(t, plain, central, 2, put32(42, 1<<30)), central, 3, put32(42, 1<<31))},
		{"other header", "another header", patch(t, plain, central, 0, put32(42, 1))},
		{"other name", "another header", patch(t, plain, central, 2, func(b []byte) { b[46] = 'b' })},
		{"two sizes", "of 9 bytes in 32", patch(t, plain, central, 2, put32(24, 9))},
		{"encrypted", "is encrypted", patch(t, plain, central, 0, put16(8, 1))},
		{"bomb", "is compressed", bomb.Bytes()},
		{"compressed storage", "a/data/0 is compressed", patch(t, plain, central, 2, put16(10, 8))},
		{"no data.pkl", "holds no data.pkl", pack(t, "a/data/0", "")},
		{"no folder", "holds no data.pkl", pack(t, "data.pkl", good)},
		{"folder in a folder", "holds no data.pkl", pack(t, "a/b/data.pkl", good)},
		{"two checkpoints", "holds 2 checkpoints", pack(t, "a/data.pkl", good, "b/data.pkl", good)},
		{"big-endian", "big-endian", pack(t, "a/data.pkl", good, "a/byteorder", "big")},
		{"empty pickle", "cut off", pack(t, "a/data.pkl", "")},
		{"64-bit end", "64-bit end is malformed", bytes.Replace(plain, []byte(ending), []byte("PK\x06\x07"+strings.Repeat("\xff", 16)+ending), 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := checkpoint.Parse("bad.pt", c.data)
			require.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, "checkpoint: bad.pt: ")
			mustParse(t, c.data)
		})
	}
}

// TestZip64 cuts and changes the 64-bit records, which PyTorch always writes.
func TestZip64(t *testing.T) {
	data := samples(t, "types.pt")[goldenDir+"/types.pt"]
	require.Contains(t, string(data), "PK\x06\x06")
	put64 := func(at int, v uint64) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint64(b[at:], v) }
	}
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"many", "members, more than 65536", patch(t, data, "PK\x06\x06", 0, put64(32, 1<<60))},
		{"size", "not where its end says", patch(t, data, "PK\x06\x06", 0, put64(40, 1<<63))},
		{"place", "not where its end says", patch(t, data, "PK\x06\x06", 0, put64(48, 1<<63))},
		{"end", "64-bit end is malformed", patch(t, data, "PK\x06\x07", 0, put64(8, 1<<64-8))},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := checkpoint.Parse("bad.pt", c.data)
			require.ErrorContains(t, err, c.want)
		})
	}
	// A member whose sizes and place are only in the 64-bit extra field, in the order that the format gives them.
	plain := archive(t, tensorPickle("0", 8, 0, []int{8}, []int{1}))
	at := bytes.LastIndex(plain, []byte(central))
	record := bytes.Clone(plain[at:bytes.Index(plain, []byte(ending))])
	extra := []byte("\x07\x00\x01\x00x\x01\x00\x18\x00")
	for _, field := range []int{24, 20, 42} {
		extra = binary.LittleEndian.AppendUint64(extra, uint64(binary.LittleEndian.Uint32(record[field:])))
		put32(field, 1<<32-1)(record)
	}
	put16(30, uint16(len(extra)))(record)
	wide := append(append(append(bytes.Clone(plain[:at]), record...), extra...), plain[at+len(record):]...)
	grown := binary.LittleEndian.Uint32(plain[bytes.Index(plain, []byte(ending))+12:]) + uint32(len(extra))
	wide = patch(t, wide, ending, 0, put32(12, grown))
	f, err := checkpoint.Parse("wide.pt", wide)
	require.NoError(t, err)
	assert.Equal(t, []string{"w"}, f.Names())
	cut := patch(t, wide, "\x01\x00\x18\x00", 0, put16(2, 0x10))
	_, err = checkpoint.Parse("cut.pt", cut)
	require.ErrorContains(t, err, "64-bit sizes are cut off")
}

// TestFolder finds the archive's folder under any name, beside what a Mac adds, and before a comment.
func TestFolder(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range map[string]string{
		"ein Name, größer/data.pkl": tensorPickle("0", 8, 0, []int{2, 4}, []int{4, 1}), "ein Name, größer/data/0": strings.Repeat("0123", 8),
		"__MACOSX/._x": "junk",
	} {
		m, err := w.CreateHeader(&zip.FileHeader{Name: name})
		require.NoError(t, err)
		_, err = m.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, w.SetComment("a comment"))
	require.NoError(t, w.Close())
	f, err := checkpoint.Parse("a.zip", b.Bytes())
	require.NoError(t, err)
	e, ok := f.Entry("w")
	require.True(t, ok)
	assert.Equal(t, strings.Repeat("0123", 8), string(e.Data))
	assert.Equal(t, []int{2, 4}, e.Shape)
}
