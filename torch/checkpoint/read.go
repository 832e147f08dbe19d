package checkpoint

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/goclip/goclip/internal/mapped"
	"github.com/goclip/goclip/torch"
)

// maxTensors bounds what one file may list. The largest CLIP has under 2,000 tensors.
const maxTensors = 1 << 15

// File is an opened checkpoint. Its entries' data lies in the mapped file, or files, until Close.
type File struct {
	path     string
	format   string
	file     *mapped.File  // nil for bytes of a caller, and for an index
	whole    *torch.Tensor // the file as float32 numbers, once a tensor shares them
	lent     *mapped.File  // the memory of whole; Close closes it unless a Lent has it
	watched  bool          // a Lent has it
	shards   []*File       // of an index
	names    []string
	entries  map[string]Entry
	metadata map[string]string
}

// Open maps and checks a file of any of the formats, which it tells by the content. The index of a sharded checkpoint
// opens its shards too. A mapped file must not be cut short or written into by someone else while it is open, or while
// a tensor of [File.Share] lives: that changes the numbers, and [File.Err] and [Lent.Err] tell. A file renamed over it
// does no harm.
func Open(path string) (*File, error) {
	f, err := open(path, true)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return f, nil
}

// open is Open; index says whether an index of shards may stand here.
func open(path string, index bool) (*File, error) {
	file, err := mapped.Open(path, false)
	if err != nil {
		return nil, err
	}
	inHugePages(file)
	data := file.Bytes()
	if len(data) < 8 {
		return nil, errors.Join(fmt.Errorf("%s: %d bytes are too few for a file of weights", path, len(data)), file.Close())
	}
	if index && isIndex(data) {
		defer file.Close()
		f, err := openShards(path, data)
		return f, cmp.Or(file.Err(), err)
	}
	f, err := parse(path, data)
	if changed := file.Err(); changed != nil {
		err = changed // whatever was read is not to blame
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f.file = file
	return f, nil
}

// Err says what happened to the mapped files since they were opened, as an error that is [ErrChanged] if somebody wrote
// into one or cut it short. What was copied of an entry before Err returned nil is what was in the file.
func (f *File) Err() error {
	if f.file != nil {
		if err := f.file.Err(); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	for _, s := range f.shards {
		if err := s.Err(); err != nil {
			return err
		}
	}
	return nil
}

// ErrChanged is of a file that is no longer what was opened.
var ErrChanged = mapped.ErrChanged

// Parse checks a file that is already in memory, which the entries' data then points into; path stands in its errors.
// The index of a sharded checkpoint needs Open, since it says nothing without its shards.
func Parse(path string, data []byte) (*File, error) {
	f, err := parse(path, data)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return f, nil
}

func parse(path string, data []byte) (*File, error) {
	f := &File{path: path, entries: map[string]Entry{}}
	if err := f.parse(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func (f *File) parse(data []byte) error {
	switch {
	case isZip(data):
		f.format = "torch.save"
		return f.parseArchive(data)
	case isLegacy(data):
		f.format = "torch.save before PyTorch 1.6"
		return f.parseLegacy(data)
	case isIndex(data):
		return errors.New("it is the index of a checkpoint in several files and holds no weights itself")
	case bytes.HasPrefix(data, []byte("version https://git-lfs")):
		return errors.New("it is Git LFS's pointer to the weights, not the weights: fetch them with git lfs pull")
	default:
		f.format = "safetensors"
		return f.parseSafetensors(data)
	}
}

// add lists an entry under a name that no other may have.
func (f *File) add(e Entry) error {
	if _, twice := f.entries[e.Name]; twice {
		return fmt.Errorf("tensor %q: it is listed twice", e.Name)
	}
	if len(f.names) == maxTensors {
		return fmt.Errorf("it lists more than %d tensors", maxTensors)
	}
	f.names = append(f.names, e.Name)
	f.entries[e.Name] = e
	return nil
}

// inHugePages asks for reads of 2 MB where the file system's cache can hold them in one piece (ext4 since Linux 6.16, XFS): mapping
// 600 MB takes 2 ms then instead of 90, also in every later process while they are in the cache.
func inHugePages(file *mapped.File) {
	if data := file.Bytes(); len(data) > 0 {
		_ = unix.Madvise(data, unix.MADV_HUGEPAGE) // advice: nothing is lost without it
	}
}

// Close unmaps the file and its shards: no Entry's data may be used after it.
func (f *File) Close() error {
	file, shards := f.file, f.shards
	f.file, f.shards, f.entries, f.names = nil, nil, nil, nil
	var err error
	for _, s := range shards {
		err = errors.Join(err, s.Close())
	}
	if f.whole != nil {
		f.whole.Free()
		f.whole = nil
		if !f.watched {
			err = errors.Join(err, f.lent.Close()) // tensors that share the memory keep it
		}
	}
	if file != nil {
		err = errors.Join(err, file.Close())
	}
	return err
}

// Release tells the system that the pages of an entry are not needed for now, so that a file that is copied tensor by
// tensor does not stay in memory beside its copy. The entry's data is still there: reading it maps the pages again.
func (f *File) Release(e Entry) {
	file, from := f.place(e)
	if file == nil {
		return
	}
	page := os.Getpagesize()
	if first, last := (from+page-1)/page*page, (from+len(e.Data))/page*page; first < last {
		_ = unix.Madvise(file.file.Bytes()[first:last], unix.MADV_DONTNEED) // advice: nothing is lost without it
	}
}

// place is the mapped file, f or one of its shards, in which the entry's data lies, and where; nil for a copy.
func (f *File) place(e Entry) (file *File, from int) {
	if len(e.Data) == 0 {
		return nil, 0
	}
	for _, file := range append([]*File{f}, f.shards...) {
		if file.file == nil {
			continue
		}
		data := file.file.Bytes()
		from := uintptr(unsafe.Pointer(&e.Data[0])) - uintptr(unsafe.Pointer(&data[0]))
		if from < uintptr(len(data)) {
			return file, int(from)
		}
	}
	return nil, 0
}

// Metadata returns the free-form strings of a safetensors header or of an index, or the numbers and strings beside the
// weights of a torch.save file.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Format says what kind of file it is: "safetensors", "torch.save", "TorchScript" or "torch.save before PyTorch 1.6".
func (f *File) Format() string { return f.format }

// Paths returns the files that hold the tensors: the file itself, or the shards of an index by their names.
func (f *File) Paths() []string {
	if len(f.shards) == 0 {
		return []string{f.path}
	}
	var paths []string
	for _, s := range f.shards {
		paths = append(paths, s.path)
	}
	slices.Sort(paths)
	return paths
}

// Names lists the tensors in the order of their data (safetensors), of the pickle (torch.save) or by name (shards).
func (f *File) Names() []string { return slices.Clone(f.names) }

// Entry finds a tensor by name.
func (f *File) Entry(name string) (Entry, bool) {
	e, ok := f.entries[name]
	return e, ok
}
