package data_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/train/data"
)

// memory is what opening a small source may take of the heap, garbage included: the window of zstd
// has 128 MiB.
const memory = 192 << 20

// source is a file of a fuzz target, in memory, that has each input's content in turn.
type source struct{ path, cache string }

func newSource(f *campaign.Target, name string) source {
	dir := f.MemoryDir()
	return source{filepath.Join(dir, name), filepath.Join(dir, "cache")}
}

// open opens the source with other content. What opens must give its samples, each with a caption,
// without a panic; what does not must say which file it was, in one line.
func (s source) open(t *testing.T, content []byte, o data.Options) {
	require.NoError(t, os.WriteFile(s.path, content, 0o644))
	o.Cache = s.cache
	opened, err := data.Open(t.Context(), s.path, &o)
	unpacked, _ := os.ReadDir(s.cache)
	for _, e := range unpacked {
		require.NoError(t, os.Remove(filepath.Join(s.cache, e.Name())))
	}
	if err != nil {
		if said := err.Error(); !strings.HasPrefix(said, "data: ") || !strings.Contains(said, s.path) || strings.Contains(said, "\n") {
			t.Fatalf("an error that names no file, or has several lines: %v", err)
		}
		return
	}
	set := opened.(*data.Sources)
	if set.Len() == 0 {
		t.Fatal("no samples and no error")
	}
	for i := range min(set.Len(), 100) {
		captions := set.Captions(i)
		if len(captions) == 0 {
			t.Fatalf("sample %d has no caption", i)
		}
		if i == 0 {
			_, _ = ids(t, set, i, len(captions)-1)
		}
		_, err := set.Sample(t.Context(), i)
		require.NoError(t, err)
		_ = set.Key(i)
	}
}

func FuzzShards(of *testing.F) {
	f := campaign.Inputs(of, memory)
	in := newSource(f, "fuzz.tar")
	whole := tarOf(f, member{"1.jpg", "picture"}, member{"1.txt", "x\ny"}, member{"2.png", "another"}, member{"2.json", `{"c": ["a", 1]}`})
	for _, content := range [][]byte{whole, whole[:1536], gzipped(f, whole), zstandard(f, whole), gzipped(f, make([]byte, 1<<20)), nil, {0x1f, 0x8b}, {0x28, 0xb5, 0x2f, 0xfd}} {
		f.Add(content, false)
		f.Add(content, true)
	}
	f.Fuzz(func(t *testing.T, content []byte, other bool) {
		o := data.Options{}
		if other {
			o.JSONTextKey, o.CaptionEach, o.CaptionLines = "c", true, true
		}
		in.open(t, content, o)
	})
}

func FuzzJSONL(of *testing.F) {
	f := campaign.Inputs(of, memory)
	in := newSource(f, "fuzz.jsonl")
	for _, text := range []string{`{"image":"a","text":"b"}`, "{\"image\":\"a\",\"caption\":[\"b\",1,null]}\n\n{\"path\":\"a\",\"title\":1e999}", "[1]", "null", "\ufeff{}", `{"image":1,"text":{}}`, ""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, content []byte) { in.open(t, content, columns) })
}

func FuzzCSV(of *testing.F) {
	f := campaign.Inputs(of, memory)
	in := newSource(f, "fuzz.csv")
	for _, text := range []string{"filepath\ttitle\na\tb\n", "title\tfilepath\r\n\"a\nb\"\tc\n", "filepath\ttitle\n", "filepath\ttitle\na\n", "\ufefffilepath\ttitle\na\t\"b\n", ""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, content []byte) { in.open(t, content, columns) })
}

func FuzzParquet(of *testing.F) {
	f := campaign.Inputs(of, memory)
	in := newSource(f, "fuzz.parquet")
	for _, name := range []string{"hub", "bytes", "paths"} {
		whole, err := os.ReadFile(filepath.Join("..", "..", "testdata", "data", name+".parquet"))
		require.NoError(f, err)
		f.Add(whole)
		f.Add(bytes.Replace(whole, []byte("caption"), []byte("picture"), -1))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<16 {
			return // a larger file says no more of our use of the library
		}
		in.open(t, content, columns)
	})
}

// FuzzSpec: a spec means at most a million files, whose names have a few hundred bytes.
func FuzzSpec(of *testing.F) {
	f := campaign.Inputs(of, 1<<30)
	for _, spec := range []string{"a-{00..02}.tar::b.csv", "{a,b}{c,d}", "{0..2", "{2..0}", "{0..999999}{0..9}", "::", "[", "{{}}"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		if strings.ContainsAny(spec, "/*?[") {
			return // it may name what is on this machine
		}
		_, _ = open(t, spec, columns)
	})
}
