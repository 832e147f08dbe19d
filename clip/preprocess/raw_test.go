package preprocess

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rawFile is laid out as a camera's raw file: a small uncompressed image in the first directory,
// and below it the given JPEGs, each in a directory of its own; o is the orientation of all.
func rawFile(o uint32, jpegs ...[]byte) []byte {
	const at, n = 8, 12
	body := make([]byte, 3*4*4) // of 4 by 4 pixels
	var places, lengths []uint32
	below := uint32(at + 2 + 12*n + 4)
	dirs := below + uint32(len(body)) + uint32(4*len(jpegs))
	next := dirs + uint32(len(jpegs))*(2+2*12+4)
	for _, j := range jpegs {
		places, lengths = append(places, next), append(lengths, uint32(len(j)))
		next += uint32(len(j))
	}
	entries := [][3]uint32{{254, 4, 1}, {256, 4, 4}, {257, 4, 4}, {258, 3, 8}, {259, 3, 1}, {262, 3, 2}, {273, 4, below},
		{274, 3, o}, {277, 3, 3}, {278, 4, 4}, {279, 4, uint32(len(body))}, {330, 4, 0}}
	out := tiffOf(body, entries...)
	sub := out[at+2+12*(n-1):]
	binary.LittleEndian.PutUint32(sub[4:], uint32(len(jpegs)))
	binary.LittleEndian.PutUint32(sub[8:], below+uint32(len(body)))
	if len(jpegs) == 1 {
		binary.LittleEndian.PutUint32(sub[8:], dirs)
	}
	for i := range jpegs {
		out = binary.LittleEndian.AppendUint32(out, dirs+uint32(i)*(2+2*12+4))
	}
	for i := range jpegs {
		out = binary.LittleEndian.AppendUint16(out, 2)
		out = append(out, exifEntry(513, 4, 1, binary.LittleEndian.AppendUint32(nil, places[i])...)...)
		out = append(out, exifEntry(514, 4, 1, binary.LittleEndian.AppendUint32(nil, lengths[i])...)...)
		out = append(out, 0, 0, 0, 0)
	}
	for _, j := range jpegs {
		out = append(out, j...)
	}
	return out
}

// A raw file gives its largest preview, turned as its own tags say.
func TestRAWGivesItsPreview(t *testing.T) {
	small, large := readGolden(t, "pictures/cup_odd.jpg"), readGolden(t, "pictures/face_420.jpg")
	want := decodeGolden(t, "face_420.jpg")
	lossless := append([]byte{}, large...)
	sof := 0
	for lossless[sof] != 0xff || lossless[sof+1] != 0xc0 {
		sof++
	}
	lossless[sof+1] = 0xc3
	binary.BigEndian.PutUint16(lossless[sof+5:], 60000) // the sensor's data is the largest, and no preview
	data := rawFile(6, small, large, lossless)
	img, err := Decode(t.Context(), data, DefaultLimits)
	require.NoError(t, err)
	assert.Equal(t, want, img)
	img, err = Decode(t.Context(), data, Limits{Orient: true})
	require.NoError(t, err)
	assert.Equal(t, want.oriented(6), img)
	assert.Equal(t, Kind{"RAW", "camera RAW (NEF)", true}, KindOf(data, "x.nef"))
	img, err = Decode(t.Context(), rawFile(1, small), DefaultLimits)
	require.NoError(t, err)
	assert.Equal(t, decodeGolden(t, "cup_odd.jpg"), img)
	img, err = Decode(t.Context(), rawFile(1), DefaultLimits)
	require.NoError(t, err)
	assert.Equal(t, [2]int{4, 4}, [2]int{img.Width, img.Height}, "without a preview, what Pillow reads")

	canon := append([]byte{}, data...)
	copy(canon[:12], "II*\x00\x10\x00\x00\x00CR\x02\x00") // its directory would lie elsewhere
	_, err = Decode(t.Context(), canon, DefaultLimits)
	require.ErrorIs(t, err, ErrUnsupported)
	assert.Contains(t, err.Error(), "export it as JPEG first")

	fuji := make([]byte, 160)
	copy(fuji, rafMark)
	binary.BigEndian.PutUint32(fuji[84:], 160)
	binary.BigEndian.PutUint32(fuji[88:], uint32(len(large)))
	img, err = Decode(t.Context(), append(fuji, large...), Limits{Orient: true})
	require.NoError(t, err)
	assert.Equal(t, want, img)
	lying := readGolden(t, "pictures/orientation6.jpg")
	binary.BigEndian.PutUint32(fuji[88:], uint32(len(lying)))
	img, err = Decode(t.Context(), append(fuji, lying...), Limits{Orient: true})
	require.NoError(t, err)
	assert.Equal(t, decodeGolden(t, "orientation6.jpg").oriented(6), img)
	tr, err := NewTransform(DefaultConfig(8))
	require.NoError(t, err)
	whole, columns := make([]float32, tr.Len()), make([]float32, tr.Len())
	require.NoError(t, tr.Apply(whole, img))
	require.NoError(t, tr.WithLimits(Limits{Orient: true}).Bytes(t.Context(), columns, append(fuji, lying...)))
	assert.Equal(t, whole, columns)
	_, err = Decode(t.Context(), fuji, DefaultLimits)
	require.ErrorIs(t, err, ErrUnsupported)
}
