package checkpoint_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch/checkpoint"
)

// legacy is a torch.save file of before PyTorch 1.6 with one pickled object, storages' keys and what follows them.
func legacy(object string, keys []string, rest string) []byte {
	list := "]("
	for _, key := range keys {
		list += text(key)
	}
	return []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + "\x80\x02M\xe9\x03." +
		"\x80\x02" + dictOf("little_endian", "\x88") + ".\x80\x02" + object + ".\x80\x02" + list + "e." + rest)
}

func elements(count int, data string) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(count))) + data
}

// part is a reference to a view of the storage 0 of 8 floats.
func part(offset, count int) string {
	return "(" + text("storage") + "ctorch.cuda\nFloatStorage\n" + text("0") + text("cuda:0") + integer(8) + "(" + text("v") + integer(offset) + integer(count) + "ttQ"
}

// TestStorageView reads a part of a storage as PyTorch before 0.4 wrote it, from a GPU.
func TestStorageView(t *testing.T) {
	data := "aaaabbbbccccddddeeeeffffgggghhhh"
	f, err := checkpoint.Parse("old.pt", legacy(dictOf("w", tensorOf(part(2, 5), 1, []int{2, 2}, []int{1, 2})), []string{"0"}, elements(8, data)))
	require.NoError(t, err)
	e, _ := f.Entry("w")
	assert.Equal(t, "ddddffffeeeegggg", string(e.Data))
}

// TestEmptyStorage reads a storage of nothing at the end of the file.
func TestEmptyStorage(t *testing.T) {
	f, err := checkpoint.Parse("old.pt", legacy(dictOf("w", floats("0", 1, 0, []int{1}, []int{1}), "e", floats("1", 0, 0, []int{0, 3}, []int{3, 1})), []string{"0", "1"}, elements(1, "aaaa")+elements(0, "")))
	require.NoError(t, err)
	e, _ := f.Entry("e")
	assert.Equal(t, []int{0, 3}, e.Shape)
	assert.Empty(t, e.Data)
}

func TestHostileLegacy(t *testing.T) {
	whole := dictOf("w", floats("0", 8, 0, []int{8}, []int{1}))
	data := elements(8, strings.Repeat("0123", 8))
	one := []string{"0"}
	good := legacy(whole, one, data)
	_, err := checkpoint.Parse("good.pt", good)
	require.NoError(t, err)
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"version", "another version than 1001", []byte(strings.Replace(string(good), "M\xe9\x03", "M\xea\x03", 1))},
		{"version that unfolds", "another version than 1001", []byte(strings.Replace(string(good), "\x80\x02M\xe9\x03.", laughs("N"), 1))},
		{"big-endian", "big-endian", []byte(strings.Replace(string(good), "little_endian\x88", "little_endian\x89", 1))},
		{"system", "tries to call os.system", legacy("cos\nsystem\n"+text("true")+"\x85R", nil, "")},
		{"system in the keys", "tries to call os.system", []byte(strings.Replace(string(good), "](", "cos\nsystem\n(", 1))},
		{"module", "refers to something that is no storage", legacy("("+text("module")+"NNNtQ", nil, "")},
		{"cut storage", "goes beyond the end of the file", good[:len(good)-1]},
		{"cut count", "is cut off", good[:len(good)-33]},
		{"other count", "has 7 elements, where its pickle says 8", legacy(whole, one, elements(7, strings.Repeat("0123", 8)))},
		{"huge count", "where its pickle says 8", legacy(whole, one, elements(-1, strings.Repeat("0123", 8)))},
		{"unknown key", "names one that no tensor has", legacy(whole, []string{"1"}, data)},
		{"key twice", "names one that no tensor has, or one twice", legacy(whole, []string{"0", "0"}, data+data)},
		{"no keys", "its storage 0 of 32 bytes is not in the file", legacy(whole, nil, "")},
		{"keys of no list", "is not a list", []byte(strings.Replace(string(legacy(whole, nil, "")), "](e.", "}.", 1))},
		{"tail", "3 bytes follow the last storage", legacy(whole, one, data+"abc")},
		{"two sizes", "in another place", legacy(dictOf("w", floats("0", 8, 0, []int{8}, []int{1}), "v", floats("0", 9, 0, []int{8}, []int{1})), one, data)},
		{"part outside", "lies outside it", legacy(dictOf("w", tensorOf(part(4, 5), 0, []int{5}, []int{1})), one, data)},
		{"part before", "lies outside it", legacy(dictOf("w", tensorOf(part(-1, 5), 0, []int{5}, []int{1})), one, data)},
		{"beyond a part", "goes beyond its storage of 5", legacy(dictOf("w", tensorOf(part(2, 5), 0, []int{6}, []int{1})), one, data)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := checkpoint.Parse("bad.pt", c.data)
			require.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, "checkpoint: bad.pt: ")
			mustParse(t, c.data)
		})
	}
}
