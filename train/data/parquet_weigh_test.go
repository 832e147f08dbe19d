package data_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train/data"
)

// captionTable writes a Parquet table of captions, the column of which is encoded and compressed as
// is said, and of paths.
func captionTable(t testing.TB, codec compress.Codec, e encoding.Encoding, version int, captions []string) []byte {
	t.Helper()
	schema := parquet.NewSchema("table", parquet.Group{
		"caption": parquet.Compressed(parquet.Encoded(parquet.Optional(parquet.String()), e), codec),
		"path":    parquet.Compressed(parquet.Encoded(parquet.String(), &parquet.RLEDictionary), &parquet.Zstd),
	})
	var b bytes.Buffer
	w := parquet.NewWriter(&b, schema, parquet.DataPageVersion(version), parquet.PageBufferSize(64<<20), parquet.DataPageStatistics(false), parquet.SkipPageBounds("caption"))
	rows := make([]parquet.Row, len(captions))
	for i, c := range captions {
		rows[i] = parquet.Row{parquet.ByteArrayValue([]byte(c)).Level(0, 1, 0), parquet.ByteArrayValue([]byte("a.png")).Level(0, 0, 1)}
	}
	_, err := w.WriteRows(rows)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func openTable(t testing.TB, content []byte, o data.Options) (*data.Sources, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.parquet")
	require.NoError(t, os.WriteFile(path, content, 0o644))
	return open(t, path, o)
}

var codecs = []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip, &parquet.Brotli, &parquet.Zstd, &parquet.Lz4Raw}

// TestParquetWeighed reads what any writer may write, in both versions of the pages.
func TestParquetWeighed(t *testing.T) {
	var captions []string
	for i := range 3000 {
		captions = append(captions, fmt.Sprintf("image number %d of many, %s", i/3, strings.Repeat("and more ", i%7)))
	}
	for _, codec := range codecs {
		for _, e := range []encoding.Encoding{&parquet.Plain, &parquet.RLEDictionary, &parquet.DeltaLengthByteArray, &parquet.DeltaByteArray} {
			for _, version := range []int{1, 2} {
				set, err := openTable(t, captionTable(t, codec, e, version, captions), columns)
				if err != nil && codec == codecs[5] {
					assert.ErrorContains(t, err, "which are not read right here: write it with zstd or snappy")
					continue
				}
				require.NoError(t, err, "%v %v version %d", codec, e, version)
				require.Equal(t, captions, set.Captions(0), "%v %v version %d", codec, e, version)
			}
		}
	}
}

// TestParquetBombs refuses what unpacks to more than 64 times the file's size and 16 MiB, before it
// is in memory.
func TestParquetBombs(t *testing.T) {
	long := strings.Repeat("a", 40<<20)
	shared := append([]string{strings.Repeat("b", 1<<20)}, make([]string, 40)...)
	for i := range shared {
		shared[i] = shared[0]
	}
	for name, content := range map[string][]byte{
		"zstd":                    captionTable(t, &parquet.Zstd, &parquet.Plain, 2, []string{long}),
		"gzip":                    captionTable(t, &parquet.Gzip, &parquet.Plain, 1, []string{long}),
		"brotli":                  captionTable(t, &parquet.Brotli, &parquet.Plain, 1, []string{long}),
		"lz4":                     captionTable(t, &parquet.Lz4Raw, &parquet.Plain, 2, []string{long}),
		"a dictionary":            captionTable(t, &parquet.Zstd, &parquet.RLEDictionary, 2, []string{long}),
		"lengths":                 captionTable(t, &parquet.Zstd, &parquet.DeltaLengthByteArray, 2, []string{long}),
		"a run":                   captionTable(t, &parquet.Zstd, &parquet.RLEDictionary, 1, make([]string, 1<<19)),
		"beginnings that repeat":  captionTable(t, &parquet.Zstd, &parquet.DeltaByteArray, 2, shared),
		"in pages of version one": captionTable(t, &parquet.Zstd, &parquet.DeltaByteArray, 1, shared),
	} {
		require.Less(t, len(content), 300<<10, name)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := openTable(t, content, columns)
		runtime.ReadMemStats(&after)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(24<<20), name)
		assert.ErrorContains(t, err, "t.parquet: it unpacks to more than 64 times its size", name)
	}
	// Long texts are cut, and those of a dictionary are one in memory.
	set, err := openTable(t, captionTable(t, &parquet.Zstd, &parquet.RLEDictionary, 2, append(shared, strings.Repeat("é", 1<<20))), data.Options{CaptionEach: true})
	require.NoError(t, err)
	require.Equal(t, 42, set.Len())
	assert.Equal(t, shared[0], set.Captions(40)[0])
	assert.Same(t, unsafe.StringData(set.Captions(0)[0]), unsafe.StringData(set.Captions(40)[0]))
	assert.Equal(t, strings.Repeat("é", 1<<19), set.Captions(41)[0])
}

// TestParquetLies refuses pages that hold more than their headers say.
func TestParquetLies(t *testing.T) {
	// first changes the header of the first page, of captions, to one of the same length.
	first := func(content []byte, change func(h *format.PageHeader)) []byte {
		var protocol thrift.CompactProtocol
		var h format.PageHeader
		require.NoError(t, thrift.NewDecoder(protocol.NewReader(bytes.NewReader(content[4:]))).Decode(&h))
		before, err := thrift.Marshal(&protocol, &h)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(content[4:], before))
		change(&h)
		after, err := thrift.Marshal(&protocol, &h)
		require.NoError(t, err)
		require.Len(t, after, len(before))
		out := bytes.Clone(content)
		copy(out[4:], after)
		return out
	}
	long := []string{strings.Repeat("a", 8<<20)}
	smaller := func(h *format.PageHeader) { h.UncompressedPageSize = 2 << 20 }
	for _, codec := range codecs[1:] {
		content := captionTable(t, codec, &parquet.Plain, 1, long)
		_, err := openTable(t, content, columns)
		require.NoError(t, err, codec)
		_, err = openTable(t, first(content, smaller), columns)
		assert.ErrorContains(t, err, "t.parquet: it is damaged: a page does not hold what its header says", codec)
	}
	plain := captionTable(t, &parquet.Uncompressed, &parquet.Plain, 1, long)
	_, err := openTable(t, first(plain, func(h *format.PageHeader) { h.CompressedPageSize += 1 << 20 }), columns)
	assert.ErrorContains(t, err, "t.parquet: it is damaged: a page does not hold what its header says")

	// A run of 1,000 captions becomes one of 8,000: 0xd0 0x0f and 0xfd 0x7d are the variable-length
	// integers of twice that.
	for _, version := range []int{1, 2} {
		run := captionTable(t, &parquet.Uncompressed, &parquet.RLEDictionary, version, make([]string, 1000))
		assert.GreaterOrEqual(t, bytes.Count(run, []byte{0xd0, 0x0f}), 2, "of the levels and of the values")
		changed := 0
		for at := 0; ; at++ {
			next := bytes.Index(run[at:], []byte{0xd0, 0x0f, 0x01})
			if next < 0 {
				break
			}
			at += next
			changed++
			longer := bytes.Clone(run)
			copy(longer[at:], []byte{0x80, 0x7d})
			_, err := openTable(t, longer, columns)
			assert.ErrorContains(t, err, "it is damaged: a page does not hold what its header says", "version %d, at byte %d", version, at)
		}
		assert.Positive(t, changed)
	}
}
