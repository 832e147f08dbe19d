package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// castagnoli is CRC-32C, for which processors have an instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewCRC is CRC-32C.
func NewCRC() hash.Hash32 { return crc32.New(castagnoli) }

// Sum reports whether a file is the one that was written.
type Sum struct {
	Size   int64  `json:"size"`
	CRC32C string `json:"crc32c"`
}

// SumOf is that of size bytes that went through h.
func SumOf(size int64, h hash.Hash32) Sum {
	return Sum{Size: size, CRC32C: fmt.Sprintf("%08x", h.Sum32())}
}

// Check reads the file at path and says if it is not what was written.
func (want Sum) Check(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	sum := NewCRC()
	size, err := io.Copy(sum, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if have := SumOf(size, sum); have != want {
		return fmt.Errorf("%s is damaged: %d bytes with the sum %s, where %d with %s were written", path, have.Size, have.CRC32C, want.Size, want.CRC32C)
	}
	return nil
}

// StateFile is where a training run keeps the sums of a checkpoint's files, below the checkpoint.
const StateFile = "train_state/state.json"

// CheckBeside checks the file name in the directory dir against the sums that a training run left
// there. Where there are none, there is nothing to check.
func CheckBeside(dir, name string) error {
	text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(StateFile)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var state struct{ Files map[string]Sum }
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err != nil {
		return fmt.Errorf("the sums of %s: %w", filepath.Join(dir, name), err)
	}
	want, known := state.Files[name]
	if !known {
		return nil
	}
	return want.Check(filepath.Join(dir, name))
}
