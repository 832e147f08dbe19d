package main

import (
	"strings"

	"github.com/goclip/goclip/internal/disk"
	"github.com/parquet-go/parquet-go"
)

// metadata is a row of a part's Parquet file. image_path and caption have clip-retrieval's names
// (clip_inference/writer.py), so that what reads its files reads these.
type metadata struct {
	Row       int64  `parquet:"row"`                 // of the part's arrays
	ImagePath string `parquet:"image_path,optional"` // or SHARD:KEY
	Caption   string `parquet:"caption,optional"`
	Width     int32  `parquet:"width,optional"` // of the file's image, in pixels
	Height    int32  `parquet:"height,optional"`
}

// metadataRows are what the writer holds in memory before it writes them.
const metadataRows = 1 << 16

// metadataFile is a .parquet file of metadata.
type metadataFile struct {
	*output
	rows *parquet.GenericWriter[metadata]
}

func newMetadata(fsys disk.FS, path string) *metadataFile {
	f := &metadataFile{output: newOutput(fsys, path)}
	if f.err == nil {
		f.rows = parquet.NewGenericWriter[metadata](f.w, parquet.Compression(&parquet.Snappy), parquet.MaxRowsPerRowGroup(metadataRows))
	}
	return f
}

// add writes a row. Parquet's texts are UTF-8; the names of files may be anything.
func (f *metadataFile) add(row metadata) {
	if f.err != nil {
		return
	}
	row.ImagePath, row.Caption = strings.ToValidUTF8(row.ImagePath, "\ufffd"), strings.ToValidUTF8(row.Caption, "\ufffd")
	_, f.err = f.rows.Write([]metadata{row})
}

func (f *metadataFile) finish() error {
	if f.err == nil {
		f.err = f.rows.Close()
	}
	return f.output.finish()
}
