package checkpoint_test

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/torch/checkpoint"
)

// memory is what opening a file may take of the heap beside twice the file's size, garbage included.
const memory = 64 << 20

// mustHold opens a hostile file and checks what the package comment promises: an error of one line or entries that fit
// their shapes, and bounded memory.
func mustHold(t testing.TB, size int, open func() (*checkpoint.File, error)) {
	before := campaign.Allocated()
	f, err := open()
	require.LessOrEqual(t, campaign.Allocated()-before, uint64(memory+2*size))
	holds(t, f, err)
}

// holds is mustHold without the memory. It is called millions of times.
func holds(t testing.TB, f *checkpoint.File, err error) {
	if err != nil {
		if strings.Contains(err.Error(), "\n") {
			t.Fatalf("an error of several lines: %v", err)
		}
		return
	}
	for _, name := range f.Names() {
		e, ok := f.Entry(name)
		n := e.DType.Size()
		for _, d := range e.Shape {
			n *= d
		}
		if !ok || len(e.Data) != n {
			t.Fatalf("%q: %d bytes, its shape has %d", name, len(e.Data), n)
		}
		if n > 0 { // the ends are there to be read
			_ = e.Data[0] + e.Data[n-1]
		}
	}
	require.NoError(t, f.Close())
}

func mustParse(t testing.TB, data []byte) {
	mustHold(t, len(data), func() (*checkpoint.File, error) { return checkpoint.Parse("fuzz", data) })
}

// pack makes a zip archive of stored members, name and data in turn.
func pack(t testing.TB, members ...string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		m, err := w.CreateHeader(&zip.FileHeader{Name: members[i], Method: zip.Store})
		require.NoError(t, err)
		_, err = m.Write([]byte(members[i+1]))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// archive is a torch.save file of a pickle and two storages of 8 floats.
func archive(t testing.TB, pickle string) []byte {
	return pack(t, "a/data.pkl", pickle, "a/byteorder", "little", "a/data/0", strings.Repeat("0123", 8), "a/data/1", strings.Repeat("4567", 8))
}

func script(t testing.TB, pickle string) []byte {
	return pack(t, "a/data.pkl", pickle, "a/constants.pkl", "", "a/data/0", strings.Repeat("0123", 8))
}

// samples are the small files that PyTorch wrote.
func samples(t testing.TB, pattern string) map[string][]byte {
	paths, err := filepath.Glob(filepath.Join(goldenDir, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	files := map[string][]byte{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		files[path] = data
	}
	return files
}

// pickleOf takes data.pkl out of an archive.
func pickleOf(t testing.TB, data []byte) []byte {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	for _, f := range r.File {
		if strings.HasSuffix(f.Name, "/data.pkl") {
			m, err := f.Open()
			require.NoError(t, err)
			var b bytes.Buffer
			_, err = b.ReadFrom(m)
			require.NoError(t, err)
			return b.Bytes()
		}
	}
	return nil
}

// parsed is mustParse for the targets below, which measure the memory themselves.
func parsed(t *testing.T, data []byte) {
	f, err := checkpoint.Parse("fuzz", data)
	holds(t, f, err)
}

func FuzzParse(of *testing.F) {
	f := campaign.Inputs(of, memory)
	f.Add(file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"format":"pt"}}`, 0, 0, 0, 0))
	f.Add(file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`))
	f.Add([]byte("PK\x03\x04 not a checkpoint at all"))
	f.Fuzz(parsed)
}

// FuzzHeader changes the JSON of a safetensors file, whose length is right.
func FuzzHeader(of *testing.F) {
	f := campaign.Inputs(of, memory)
	for _, header := range []string{
		`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"format":"pt"}}`,
		`{"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"I64","shape":[],"data_offsets":[12,20]}}`,
		`{"a":{"dtype":"BF16","shape":[0,9],"data_offsets":[0,0]},"b.c":{"dtype":"BOOL","shape":[3,1,1],"data_offsets":[0,3]}}   `,
		`{"\u00e9\n":{"dtype":"F8_E5M2","shape":[4],"data_offsets":[0,4]}}`, `{}`,
	} {
		f.Add([]byte(header), byte(20))
	}
	f.Fuzz(func(t *testing.T, header []byte, size byte) { parsed(t, file(string(header), make([]byte, size)...)) })
}

func FuzzPickle(of *testing.F) {
	f := campaign.Inputs(of, memory)
	for path, data := range samples(f, "*.pt") {
		if data[0] == 'P' {
			f.Add(pickleOf(f, data), strings.Contains(path, "script") || strings.Contains(path, "traced"))
		}
	}
	for _, c := range hostilePickles() {
		if len(c.pickle) < 1<<12 {
			f.Add([]byte(c.pickle), c.script)
		}
	}
	f.Fuzz(func(t *testing.T, pickle []byte, classes bool) {
		if classes {
			parsed(t, script(t, string(pickle)))
		} else {
			parsed(t, archive(t, string(pickle)))
		}
	})
}

func FuzzZip(of *testing.F) {
	f := campaign.Inputs(of, memory)
	for _, data := range samples(f, "*.pt") {
		if data[0] == 'P' && len(data) < 1900 { // small ones are soon changed in what matters
			f.Add(data)
		}
	}
	f.Add(archive(f, tensorPickle("0", 8, 0, []int{2, 4}, []int{4, 1})))
	f.Add(script(f, "\x80\x02c__torch__\nNet\n)\x81}"+text("w")+floats("0", 8, 0, []int{8}, []int{1})+"sb."))
	f.Add(pack(f, "a/data.pkl", "\x80\x02]."))
	f.Fuzz(parsed)
}

func FuzzLegacy(of *testing.F) {
	f := campaign.Inputs(of, memory)
	for _, data := range samples(f, "*legacy.pt") {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed(t, append([]byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."), data...))
	})
}

func FuzzIndex(of *testing.F) {
	f := campaign.Inputs(of, memory)
	for _, data := range samples(f, "*.index.json") {
		f.Add(string(data))
	}
	f.Add(`{"weight_map":{"a":"one","b":"two"}}`)
	f.Add(`{"weight_map":{"a":"../one"}}`)
	f.Add(`{"weight_map":{"a":"index"}}`)
	dir := f.MemoryDir()
	for shard, text := range map[string]string{"one": `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "two": `{"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`} {
		require.NoError(f, os.WriteFile(filepath.Join(dir, shard), file(text, 1), 0o600))
	}
	index := filepath.Join(dir, "index")
	f.Fuzz(func(t *testing.T, text string) {
		require.NoError(t, os.WriteFile(index, []byte(text), 0o600))
		file, err := checkpoint.Open(index)
		holds(t, file, err)
	})
}
