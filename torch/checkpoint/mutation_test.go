package checkpoint_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestMutations spoils what PyTorch wrote in a few places at a time. Checksums are not compared, so that most of these
// files reach the pickle and the tensors' shapes.
func TestMutations(t *testing.T) {
	files := samples(t, "*.pt")
	maps.Copy(files, samples(t, "*.safetensors"))
	paths := slices.Sorted(maps.Keys(files))
	r := rand.New(rand.NewPCG(1, 2))
	opcodes := []byte("\x00\xff\x7f\x80.(tRQbu")
	for range 4000 {
		data := bytes.Clone(files[paths[r.IntN(len(paths))]])
		for range 1 + r.IntN(4) {
			at, from := r.IntN(len(data)), r.IntN(len(data))
			switch r.IntN(6) {
			case 0:
				data[at] = byte(r.Uint32())
			case 1:
				data[at] ^= 1 << r.IntN(8)
			case 2:
				data[at] = opcodes[r.IntN(len(opcodes))]
			case 3:
				for i := range min(8, len(data)-at) {
					data[at+i] = 0xff
				}
			case 4:
				n := min(1+r.IntN(40), len(data)-max(at, from))
				copy(data[at:at+n], data[from:])
			case 5:
				data = slices.Delete(data, at, min(len(data)-1, at+1+r.IntN(8)))
			}
		}
		mustParse(t, data)
	}
}
