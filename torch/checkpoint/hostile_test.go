package checkpoint_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch/checkpoint"
)

// The opcodes of small pickles, by name.
func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func integer(n int) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func integers(n []int) string {
	out := "("
	for _, x := range n {
		out += integer(x)
	}
	return out + "t"
}

func storageOf(kind, key string, elements int) string {
	return "(" + text("storage") + "c" + kind + "\n" + text(key) + text("cpu") + integer(elements) + "tQ"
}

func tensorOf(storage string, offset int, shape, strides []int) string {
	return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + integer(offset) + integers(shape) + integers(strides) + "\x89NtR"
}

func floats(key string, elements, offset int, shape, strides []int) string {
	return tensorOf(storageOf("torch\nFloatStorage", key, elements), offset, shape, strides)
}

// dictOf is a dict of names and pickled values in turn.
func dictOf(items ...string) string {
	out := "}("
	for i := 0; i < len(items); i += 2 {
		out += text(items[i]) + items[i+1]
	}
	return out + "u"
}

func tensorPickle(key string, elements, offset int, shape, strides []int) string {
	return "\x80\x02" + dictOf("w", floats(key, elements, offset, shape, strides)) + "."
}

// version3 is a tensor of an untyped storage.
func version3(dtype string) string {
	return "ctorch._utils\n_rebuild_tensor_v3\n(" + storageOf("torch.storage\nUntypedStorage", "0", 32) + integer(1) + integers([]int{3}) + integers([]int{2}) + "\x89Nc" + dtype + "\ntR"
}

// TestHandmade reads what older and newer versions of PyTorch and Python write than the goldens' one.
func TestHandmade(t *testing.T) {
	good := floats("0", 8, 1, []int{3}, []int{2})
	for name, pickle := range map[string]string{
		"untyped storage":       dictOf("w", version3("torch\nfloat32")),
		"tensor with attribute": dictOf("w", "ctorch._tensor\n_rebuild_from_type_v2\n("+strings.TrimSuffix(strings.Replace(good, "\n(", "\nctorch\nTensor\n(", 1), "R")+"}tR"),
		"Python 2's dict":       "ccollections\nOrderedDict\n](](" + text("w") + good + "ee\x85R",
		"short strings":         "}U\x01w" + good + "s",
		"first version":         dictOf("w", strings.Replace(strings.Replace(good, "_v2", "", 1), "\x89NtR", "tR", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			data := pack(t, "a/data.pkl", "\x80\x02"+pickle+".", "a/data/0", "aaaabbbbccccddddeeeeffffgggghhhh")
			f, err := checkpoint.Parse("a.pt", data)
			require.NoError(t, err)
			assert.Equal(t, []string{"w"}, f.Names())
			e, _ := f.Entry("w")
			assert.Equal(t, "bbbbddddffff", string(e.Data))
		})
	}
}

// TestNumbers reads every way in which Python writes a number, beside the weights.
func TestNumbers(t *testing.T) {
	items := []string{"w", floats("0", 8, 0, []int{1}, []int{1})}
	want := map[string]string{}
	for _, c := range [][2]string{
		{"J\xfb\xff\xff\xff", "-5"}, {"J\x00\x00\x01\x00", "65536"}, {"K\xc8", "200"}, {"M\xfe\xff", "65534"}, {"\x8a\x00", "0"}, {"\x8a\x01\x80", "-128"}, {"\x8a\x01\x7f", "127"},
		{"\x8a\x02\x80\x00", "128"}, {"\x8a\x02\x00\xff", "-256"}, {"\x8a\x07\xff\xff\xff\xff\xff\xff\x7f", "36028797018963967"}, {"\x8a\x07\x00\x00\x00\x00\x00\x00\x80", "-36028797018963968"},
		{"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\xff", "-1"}, {"\x8b\x01\x00\x00\x00\xff", "-1"}, {"\x8a\x09\x01\x00\x00\x00\x00\x00\x00\x00\x01", ""}, {"G\x40\x09\x00\x00\x00\x00\x00\x00", "3.125"},
		{"\x88", "true"}, {"\x89", "false"}, {"N", ""},
	} {
		name := fmt.Sprintf("%x", c[0])
		items = append(items, name, c[0])
		if c[1] != "" {
			want[name] = c[1]
		}
	}
	f, err := checkpoint.Parse("a.pt", archive(t, "\x80\x02"+dictOf(items...)+"."))
	require.NoError(t, err)
	assert.Equal(t, want, f.Metadata())
}

type hostilePickle struct {
	name, want, pickle string
	script             bool
}

// laughs is a dict that holds ten times a dict that holds ten times ... value, 10 levels deep, in a few hundred bytes.
func laughs(value string) string {
	out := dictOf("w", value) + "q\x00"
	for i := range 9 {
		out = "}(" + text("0") + out
		for j := range 9 {
			out += text(string(rune('1'+j))) + "h" + string([]byte{byte(i)})
		}
		out += "uq" + string([]byte{byte(i + 1)})
	}
	return "\x80\x02" + out + "."
}

func hostilePickles() []hostilePickle {
	const max = 1<<63 - 1
	one := []int{1}
	good := floats("0", 8, 0, []int{8}, one)
	return []hostilePickle{
		{"system", "tries to call os.system; goclip never runs code of a file", "\x80\x02cos\nsystem\n" + text("true") + "\x85R.", false},
		{"posix system by stack", "tries to call posix.system", "\x80\x04" + text("posix") + text("system") + "\x93" + text("true") + "\x85R.", false},
		{"a number for a name", "names a global by something that is not a string", "\x80\x04" + text("torch") + "K\x01\x93.", false},
		{"a number for a module", "names a global by something that is not a string", "\x80\x04K\x01" + text("Size") + "\x93.", false},
		{"eval", "tries to call builtins.eval", "\x80\x02c__builtin__\neval\n" + text("1") + "\x85R.", false},
		{"line feed in a name", `tries to call "os\n.system"`, "\x80\x04" + text("os\n") + text("system") + "\x93.", false},
		{"class of the model", "tries to call __main__.Net", "\x80\x02c__main__\nNet\n)\x81.", false},
		{"TorchScript's class outside of it", "tries to call __torch__.Net", "\x80\x02c__torch__\nNet\n)\x81.", false},
		{"TorchScript's class called", "calls something that is not a function", "\x80\x02c__torch__\nNet\n)R.", true},
		{"complex", "a tensor of the type torch.ComplexFloatStorage", "\x80\x02" + dictOf("w", tensorOf(storageOf("torch\nComplexFloatStorage", "0", 4), 0, one, one)) + ".", false},
		{"uint16", "a tensor of the type torch.uint16", "\x80\x02" + dictOf("w", version3("torch\nuint16")) + ".", false},
		{"no type", "untyped, and no type is given", "\x80\x02" + dictOf("w", tensorOf(storageOf("torch.storage\nUntypedStorage", "0", 32), 0, one, one)) + ".", false},
		{"type of no dtype", "untyped, and no type is given", "\x80\x02" + dictOf("w", version3("torch\nSize")) + ".", false},
		{"negated", "the negative or conjugate of its storage", "\x80\x02" + strings.Replace(dictOf("w", good), "\x89NtR", "\x89N"+dictOf("neg", "\x88")+"tR", 1) + ".", false},
		{"call of a type", "calls something that is not a function", "\x80\x02ctorch\nFloatStorage\n)R.", false},
		{"no arguments", "a tensor lacks its storage", "\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", false},
		{"wrong arguments", "a tensor's storage or offset", "\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR.", false},
		{"pickle of text", "has the opcode", "\x80\x02I1\n.", false},
		{"old protocol", "the protocol 1", "\x80\x01.", false},
		{"cut off", "is cut off", "\x80\x02X\x05\x00\x00\x00ab", false},
		{"long string", "is cut off", "\x80\x02X\xff\xff\xff\xff.", false},
		{"longer string", "is cut off", "\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", false},
		{"no value", "a value that is not there", "\x80\x02.", false},
		{"under the mark", "a value that is not there", "\x80\x02}((s.", false},
		{"no mark", "lacks a mark", "\x80\x02t.", false},
		{"left over", "leaves 1 values over", "\x80\x02NN.", false},
		{"memo of nothing", "the value 7, which it never made", "\x80\x02h\x07.", false},
		{"append to a dict", "appends to something that is not a list", "\x80\x02}Na.", false},
		{"items of a list", "not a dict", "\x80\x02]NNs.", false},
		{"odd items", "not a dict", "\x80\x02}(Nu.", false},
		{"state of an integer", "sets attributes of something", "\x80\x02K\x01}b.", false},
		{"state twice", "a state that is not a dict", "\x80\x02c__torch__\nNet\n)\x81}b}b.", true},
		{"trailing bytes", "3 bytes follow the pickle", "\x80\x02" + dictOf("w", good) + ".abc", false},
		{"nothing", "there is no tensor in it", "\x80\x02}.", false},
		{"optimiser alone", "there is no tensor in it", "\x80\x02" + dictOf("optimizer", dictOf("w", good)) + ".", false},
		{"tensor alone", "a single tensor without a name", "\x80\x02" + good + ".", false},
		{"same name", `tensor "a.b": it is listed twice`, "\x80\x02" + dictOf("a.b", good, "a", dictOf("b", good)) + ".", false},
		{"key of a tuple", "neither a string nor a number", "\x80\x02}()" + good + "u.", false},

		{"no such storage", "holds no a/data/7", tensorPickle("7", 8, 0, []int{8}, one), false},
		{"path as key", "holds no a/data/../data/0", tensorPickle("../data/0", 8, 0, []int{8}, one), false},
		{"too long a storage", "has 32 bytes, where its pickle says 36", tensorPickle("0", 9, 0, []int{8}, one), false},
		{"too short a storage", "has 32 bytes, where its pickle says 28", tensorPickle("0", 7, 0, []int{7}, one), false},
		{"negative storage", "has -8 elements", tensorPickle("0", -8, 0, []int{8}, one), false},
		{"huge storage", "has 9223372036854775807 elements", tensorPickle("0", max, 0, []int{8}, one), false},
		{"storage of no type", "no storage", "\x80\x02" + text("storage") + "\x85Q.", false},
		{"storage called", "in an unknown way", "\x80\x02" + storageOf("collections\nOrderedDict", "0", 8) + ".", false},
		{"beyond", "goes beyond its storage of 8", tensorPickle("0", 8, 1, []int{8}, one), false},
		{"beyond by a stride", "goes beyond its storage of 8", tensorPickle("0", 8, 0, []int{2, 4}, []int{5, 1}), false},
		{"beyond by an overflow", "goes beyond its storage of 8", tensorPickle("0", 8, 0, []int{3, 3}, []int{max, max}), false},
		{"offset", "goes beyond its storage of 8", tensorPickle("0", 8, max, one, one), false},
		{"negative offset", "goes beyond its storage of 8", tensorPickle("0", 8, -1, one, one), false},
		{"offset of nothing", "goes beyond its storage of 8", tensorPickle("0", 8, 9, []int{0}, one), false},
		{"at the end", "goes beyond its storage of 8", tensorPickle("0", 8, 8, []int{2}, []int{0}), false},
		{"negative stride", "goes beyond its storage of 8", tensorPickle("0", 8, 7, []int{8}, []int{-1}), false},
		{"negative size", "has a negative size", tensorPickle("0", 8, 0, []int{-8}, one), false},
		{"huge size", "is too large", tensorPickle("0", 8, 0, []int{1 << 40, 1 << 40}, []int{0, 0}), false},
		{"huge empty size", "is too large", tensorPickle("0", 8, 0, []int{1 << 40, 0, 1 << 40}, []int{0, 0, 0}), false},
		{"unfolds", "unfolds to 4398046511104 bytes", tensorPickle("0", 8, 0, []int{1 << 40}, []int{0}), false},
		{"strides", "has 1 strides", tensorPickle("0", 8, 0, []int{2, 4}, one), false},
		{"dimensions", "65 dimensions", tensorPickle("0", 8, 0, make([]int, 65), make([]int, 65)), false},
		{"many tensors that unfold", "more than the file has", "\x80\x02](" + strings.Repeat(floats("0", 8, 0, []int{1 << 18}, []int{0}), 20) + "e.", false},

		{"memo unfolds", "takes more than 40 MiB", laughs("N"), false},
		{"memo unfolds to tensors", "more than 32768 tensors", laughs(good), false},
		{"list in itself", "nested deeper than 64", "\x80\x02]q\x00h\x00a.", false},
		{"deep", "nested deeper than 64", "\x80\x02" + strings.Repeat("](", 5000) + strings.Repeat("e", 5000) + ".", false},
		{"deep tuples", "nested deeper than 64", "\x80\x02N" + strings.Repeat("\x85", 5000) + ".", false},
		{"many values", "takes more than 40 MiB", "\x80\x02(" + strings.Repeat("N", 1<<20) + "t.", false},
		{"many lists", "takes more than 40 MiB", "\x80\x02(" + strings.Repeat("]", 1<<20) + "t.", false},
		{"many dicts", "takes more than 40 MiB", "\x80\x02(" + strings.Repeat("}", 1<<20) + "t.", false},
		{"many marks", "takes more than 40 MiB", "\x80\x02" + strings.Repeat("(", 1<<20) + ".", false},
		{"much memo", "takes more than 40 MiB", "\x80\x04N" + strings.Repeat("\x94", 1<<20) + ".", false},
		{"many names", "takes more than 40 MiB", "\x80\x02(" + strings.Repeat("ctorch\nSize\n", 1<<20) + ".", false},
		{"many classes", "takes more than 40 MiB", "\x80\x02(" + strings.Repeat("c__torch__\nA\n)\x81", 1<<18) + ".", true},
		{"much text", "takes more than 40 MiB", "\x80\x02" + text(strings.Repeat("a", 41<<20)) + ".", false},
		{"many tensors", "more than 32768 tensors", "\x80\x02" + good + "q\x000](" + strings.Repeat("h\x00", 90_000) + "e.", false},
	}
}

func TestHostilePickles(t *testing.T) {
	for _, c := range hostilePickles() {
		t.Run(c.name, func(t *testing.T) {
			data := archive(t, c.pickle)
			if c.script {
				data = script(t, c.pickle)
			}
			_, err := checkpoint.Parse("bad.pt", data)
			require.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, "checkpoint: bad.pt: ")
			mustParse(t, data)
		})
	}
}

// TestCutOff cuts the smallest goldens at every byte, the others at some: each piece is an error.
func TestCutOff(t *testing.T) {
	for path, data := range samples(t, "*.pt") {
		step := 1
		if len(data) > 2200 {
			step = 29
		}
		for n := 0; n < len(data); n += step {
			f, err := checkpoint.Parse(path, data[:n:n])
			if err == nil {
				t.Fatalf("%s: %d of %d bytes are read as %v", path, n, len(data), f.Names())
			}
		}
	}
}
