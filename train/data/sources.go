package data

import (
	"hash/fnv"
	"io"
	"slices"
	"sort"
)

// Sources are data sets one after another, as Open finds them.
type Sources struct {
	sets  []Dataset
	first []int // the place of each set's first sample
	n     int
	parts []int
}

// join makes one source of a set.
func join(set Dataset) *Sources {
	s := &Sources{}
	s.add(set)
	s.parts = []int{set.Len()}
	return s
}

func (s *Sources) add(set Dataset) {
	s.sets, s.first = append(s.sets, set), append(s.first, s.n)
	s.n += set.Len()
}

// Parts are the numbers of samples of the sources that `::` joined.
func (s *Sources) Parts() []int { return s.parts }

// LeftOut counts what was found and makes no sample: a picture without a caption, or a caption without a picture.
func (s *Sources) LeftOut() (n int) {
	for _, set := range s.sets {
		if set, ok := set.(interface{ LeftOut() int }); ok {
			n += set.LeftOut()
		}
	}
	return n
}

func (s *Sources) locate(i int) (Dataset, int) {
	at := sort.SearchInts(s.first, i+1) - 1
	return s.sets[at], i - s.first[at]
}

func (s *Sources) Len() int { return s.n }

func (s *Sources) Key(i int) string {
	set, i := s.locate(i)
	return set.Key(i)
}

func (s *Sources) Captions(i int) []string {
	set, i := s.locate(i)
	return set.Captions(i)
}

func (s *Sources) Image(i int) ([]byte, error) {
	set, i := s.locate(i)
	return set.Image(i)
}

func (s *Sources) IDs(i, c int) (image, text int64) {
	set, i := s.locate(i)
	return set.IDs(i, c)
}

// Fingerprint tells two data sets apart by their keys and captions, in their order: a run that is resumed on other data
// than it began with would not continue itself. It does not look into the pictures.
func Fingerprint(set Dataset) uint64 {
	h := fnv.New64a()
	for i := range set.Len() {
		io.WriteString(h, set.Key(i))
		for _, c := range set.Captions(i) {
			h.Write([]byte{0})
			io.WriteString(h, c)
		}
		h.Write([]byte{1})
	}
	return h.Sum64()
}

// Classes tells of a folder of classes among the sources: pictures of one class have captions in common.
func (s *Sources) Classes() bool {
	return slices.ContainsFunc(s.sets, func(set Dataset) bool {
		_, ok := set.(*Folders)
		return ok
	})
}
