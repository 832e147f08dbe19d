package data

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// A page of a few bytes can stand for gigabytes: by its compression, by runs of one value, by
// values that share their beginnings. The library makes room for whatever a page says, so all pages
// of a column are weighed before it reads them. A file may unpack to so many times its size as a
// shard may (see expansion).
type scales struct {
	ctx  context.Context
	file *os.File
	p    *parquet.File
	left int64  // bytes that the file may still unpack to
	page []byte // unpacked, memory that is used again
	zstd *zstd.Decoder
}

// perValue is what a value costs beside its bytes, in the library and as a caption.
const perValue = 48

// maxPageHeader bounds a page's header, in which statistics have at most two values.
const maxPageHeader = 256 << 10

var errDamaged = errors.New("it is damaged: a page does not hold what its header says")

func newScales(ctx context.Context, f *os.File, size int64, p *parquet.File) *scales {
	return &scales{ctx: ctx, file: f, p: p, left: expansion*size + freeExpansion}
}

func (s *scales) spend(n int64) error {
	if s.left -= n; s.left < 0 {
		return errExpands
	}
	return nil
}

// weigh looks at all pages of a column.
func (s *scales) weigh(leaf parquet.LeafColumn) error {
	for _, group := range s.p.Metadata().RowGroups {
		if leaf.ColumnIndex >= len(group.Columns) {
			return errDamaged
		}
		meta := &group.Columns[leaf.ColumnIndex].MetaData
		begin := meta.DataPageOffset
		if meta.DictionaryPageOffset != 0 {
			begin = meta.DictionaryPageOffset
		}
		if begin < 0 || meta.TotalCompressedSize < 0 {
			return errDamaged
		}
		in := bufio.NewReaderSize(io.NewSectionReader(s.file, begin, meta.TotalCompressedSize), maxPageHeader)
		var protocol thrift.CompactProtocol
		for at := int64(0); ; {
			if err := s.ctx.Err(); err != nil {
				return err
			}
			// From bytes, since a decoder of a stream makes room for what a header claims before it reads it.
			head, _ := in.Peek(maxPageHeader)
			if len(head) == 0 {
				break
			}
			var h format.PageHeader
			header := protocol.NewReaderFromBytes(head)
			if err := thrift.NewDecoder(header).Decode(&h); err != nil {
				return fmt.Errorf("it is damaged: %w", err)
			}
			_, _ = in.Discard(header.BytesRead())
			if at += int64(h.CompressedPageSize); h.CompressedPageSize < 0 || h.UncompressedPageSize < 0 || at > meta.TotalCompressedSize {
				return errDamaged
			}
			if err := s.header(&h, meta.Codec, leaf, in); err != nil {
				return err
			}
		}
	}
	return nil
}

// header weighs a page, which in is at the beginning of.
func (s *scales) header(h *format.PageHeader, codec format.CompressionCodec, leaf parquet.LeafColumn, in io.Reader) error {
	values, levels, compressed := int32(0), int32(0), true
	switch {
	case h.DataPageHeader.Valid:
		values = h.DataPageHeader.V.NumValues
	case h.DataPageHeaderV2.Valid:
		v2 := &h.DataPageHeaderV2.V
		values, levels = v2.NumValues, v2.RepetitionLevelsByteLength+v2.DefinitionLevelsByteLength
		compressed = !v2.IsCompressed.Valid || v2.IsCompressed.V
		if v2.RepetitionLevelsByteLength < 0 || v2.DefinitionLevelsByteLength < 0 {
			return errDamaged
		}
	case h.DictionaryPageHeader.Valid:
		values = h.DictionaryPageHeader.V.NumValues
	}
	if values < 0 || levels < 0 || levels > min(h.CompressedPageSize, h.UncompressedPageSize) {
		return errDamaged
	}
	if err := s.spend(int64(h.CompressedPageSize) + int64(h.UncompressedPageSize) + perValue*int64(values)); err != nil {
		return err
	}
	page := make([]byte, h.CompressedPageSize)
	if _, err := io.ReadFull(in, page); err != nil {
		return fmt.Errorf("it is damaged: %w", err)
	}
	if !compressed {
		codec = format.Uncompressed
	}
	content, err := s.unpacked(page[levels:], codec, int(h.UncompressedPageSize-levels))
	if err != nil {
		return err
	}
	return s.content(h, page[:levels], content, leaf)
}

// unpacked is a page's content, which may not have more bytes than its header says.
func (s *scales) unpacked(page []byte, codec format.CompressionCodec, size int) ([]byte, error) {
	if cap(s.page) < size {
		s.page = make([]byte, size)
	}
	var in io.Reader
	var err error
	switch codec {
	case format.Snappy:
		if n, err := snappy.DecodedLen(page); err != nil || n > size {
			return nil, errDamaged
		}
		return snappy.Decode(s.page[:size], page)
	case format.Lz4Raw:
		n, err := lz4.UncompressBlock(page, s.page[:size])
		if err != nil {
			return nil, errDamaged
		}
		if 3*len(page) > size { // parquet-go 0.32 reads another buffer than it unpacked to (its issue 608)
			return nil, errors.New("it has pages that LZ4 has made less than three times smaller, which are not read right here: write it with zstd or snappy")
		}
		return s.page[:n], nil
	case format.Gzip:
		in, err = gzip.NewReader(bytes.NewReader(page))
	case format.Brotli:
		in = brotli.NewReader(bytes.NewReader(page))
	case format.Zstd:
		if s.zstd == nil {
			s.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(widest))
		}
		if err == nil {
			err = s.zstd.Reset(bytes.NewReader(page))
		}
		in = s.zstd
	default: // no compression, or one that the library refuses
		if len(page) > size {
			return nil, errDamaged
		}
		return page, nil
	}
	if err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	n, err := io.ReadFull(in, s.page[:size])
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return s.page[:n], nil
	case err != nil:
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if n, _ := in.Read(make([]byte, 1)); n > 0 {
		return nil, errDamaged
	}
	return s.page[:n], nil
}

// content weighs what the encodings of a page's levels and values unpack to.
func (s *scales) content(h *format.PageHeader, levels, content []byte, leaf parquet.LeafColumn) error {
	var encoding format.Encoding
	values := 0
	switch {
	case h.DataPageHeader.Valid:
		encoding, values = h.DataPageHeader.V.Encoding, int(h.DataPageHeader.V.NumValues)
		for _, highest := range []int{leaf.MaxRepetitionLevel, leaf.MaxDefinitionLevel} {
			if highest == 0 {
				continue
			}
			if len(content) < 4 || int64(binary.LittleEndian.Uint32(content)) > int64(len(content)-4) {
				return errDamaged
			}
			end := 4 + int(binary.LittleEndian.Uint32(content))
			if err := checkRuns(content[4:end], bits.Len(uint(highest)), values); err != nil {
				return err
			}
			content = content[end:]
		}
	case h.DataPageHeaderV2.Valid:
		v2 := &h.DataPageHeaderV2.V
		encoding, values = v2.Encoding, int(v2.NumValues)
		parts := []struct {
			highest int
			levels  []byte
		}{{leaf.MaxRepetitionLevel, levels[:v2.RepetitionLevelsByteLength]}, {leaf.MaxDefinitionLevel, levels[v2.RepetitionLevelsByteLength:]}}
		for _, part := range parts {
			if part.highest > 0 {
				if err := checkRuns(part.levels, bits.Len(uint(part.highest)), values); err != nil {
					return err
				}
			}
		}
	default:
		return nil
	}
	switch encoding {
	//lint:ignore SA1019 older files have it
	case format.PlainDictionary, format.RLEDictionary:
		if len(content) == 0 {
			return nil
		}
		return checkRuns(content[1:], int(content[0]), values)
	case format.DeltaLengthByteArray:
		_, _, err := deltas(content, values)
		return err
	case format.DeltaByteArray:
		shared, rest, err := deltas(content, values)
		if err != nil {
			return err
		}
		if _, _, err := deltas(rest, values); err != nil {
			return err
		}
		return s.spend(shared)
	}
	return nil
}

// checkRuns counts the values of runs and bit-packed groups, of which the last may be filled up:
// there are no more than values.
func checkRuns(in []byte, width, values int) error {
	if width > 32 {
		return errDamaged
	}
	for count := uint64(0); len(in) > 0; {
		u, n := binary.Uvarint(in)
		if n <= 0 {
			return errDamaged
		}
		in = in[n:]
		size := uint64(width+7) / 8
		if u&1 != 0 {
			size = u >> 1 * uint64(width)
			count += u >> 1 * 8
		} else {
			count += u >> 1
		}
		if u > 1<<32 || count > uint64(values)+512 {
			return errDamaged
		}
		in = in[min(size, uint64(len(in))):]
	}
	return nil
}

// deltas reads lengths in the encoding DELTA_BINARY_PACKED and gives their sum and what follows.
func deltas(in []byte, values int) (sum int64, rest []byte, err error) {
	var head [3]uint64 // values of a block, its mini-blocks, values of all
	for i := range head {
		n := 0
		if head[i], n = binary.Uvarint(in); n <= 0 {
			return 0, nil, errDamaged
		}
		in = in[n:]
	}
	last, n := binary.Varint(in)
	if n <= 0 || head[0] > 1<<16 || head[1] == 0 || head[1] > head[0] || head[2] > uint64(values) {
		return 0, nil, errDamaged
	}
	in = in[n:]
	left, mini := int(head[2]), int(head[0]/head[1])
	if left > 0 {
		sum = max(last, 0)
		left--
	}
	for left > 0 {
		least, n := binary.Varint(in)
		if n <= 0 || len(in) < n+int(head[1]) {
			return 0, nil, errDamaged
		}
		widths := in[n : n+int(head[1])]
		in = in[n+int(head[1]):]
		for _, width := range widths {
			if left == 0 {
				break
			}
			size := mini * int(width) / 8
			if width > 64 || len(in) < size {
				return 0, nil, errDamaged
			}
			for i := range min(mini, left) {
				delta := uint64(0)
				for b := range int(width) {
					at := i*int(width) + b
					delta |= uint64(in[at/8]>>(at%8)&1) << b
				}
				last += least + int64(delta)
				sum += min(max(last, 0), 1<<31)
			}
			in, left = in[size:], left-min(mini, left)
		}
	}
	return sum, in, nil
}
