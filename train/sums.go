package train

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/internal/disk"
)

// summing is a file layer that notes what is written through it into a directory.
type summing struct {
	disk.FS
	dir   string
	files map[string]disk.Sum // by path below dir
}

func newSumming(fsys disk.FS, dir string) *summing {
	return &summing{FS: fsys, dir: dir, files: map[string]disk.Sum{}}
}

func (s *summing) key(path string) string {
	return strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(s.dir)+"/")
}

func (s *summing) CreateTemp(dir, pattern string) (disk.Output, error) {
	out, err := s.FS.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	return &summed{Output: out, to: s, sum: disk.NewCRC()}, nil
}

func (s *summing) Rename(from, to string) error {
	if err := s.FS.Rename(from, to); err != nil {
		return err
	}
	s.files[s.key(to)] = s.files[s.key(from)]
	delete(s.files, s.key(from))
	return nil
}

type summed struct {
	disk.Output
	to   *summing
	sum  hash.Hash32
	size int64
}

func (f *summed) Write(p []byte) (int, error) {
	n, err := f.Output.Write(p)
	f.sum.Write(p[:n])
	f.size += int64(n)
	f.to.files[f.to.key(f.Name())] = disk.SumOf(f.size, f.sum)
	return n, err
}

// seal is the text of a state.json, with the sum of that text, where the sum itself counts as
// zeros.
func seal(s state) ([]byte, error) {
	s.Seal = unsealed
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	return bytes.Replace(text, []byte(unsealed), fmt.Appendf(nil, "%08x", sumOf(text)), 1), nil
}

const unsealed = "00000000"

func sumOf(text []byte) uint32 {
	sum := disk.NewCRC()
	sum.Write(text)
	return sum.Sum32()
}

// openState reads a state.json and says whether it is as it was written.
func openState(path string) (s state, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s is not a run's state: %w", path, err)
	}
	if s.Files == nil {
		return s, nil // of an earlier goclip, which kept no sums
	}
	blank := bytes.Replace(text, []byte(s.Seal), []byte(unsealed), 1)
	if s.Seal != fmt.Sprintf("%08x", sumOf(blank)) {
		return s, fmt.Errorf("%s is damaged: its sum is not the one that it gives", path)
	}
	return s, nil
}

// checkWhole reads a checkpoint and says what it lacks, by the sums in its state.json, which is
// written last: a checkpoint whose state.json is whole was whole once, and still is if its files
// have their sums.
func checkWhole(dir string) error {
	s, err := openState(filepath.Join(dir, stateDir, stateFile))
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		if err := s.Files[name].Check(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return nil
}
