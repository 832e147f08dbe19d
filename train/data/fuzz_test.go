package data_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train/data"
)

// openBytes writes a source and opens it. What opens must give its samples, each with a caption,
// without a panic; what does not must say which file it was, in one line.
func openBytes(t *testing.T, name string, content []byte, o data.Options) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, content, 0o644))
	o.Cache = filepath.Join(dir, "cache")
	set, err := open(t, path, o)
	if err != nil {
		if !strings.HasPrefix(err.Error(), "data: ") || !strings.Contains(err.Error(), name) {
			t.Fatalf("an error that names no file: %v", err)
		}
		return
	}
	if set.Len() == 0 {
		t.Fatal("no samples and no error")
	}
	for i := range min(set.Len(), 100) {
		captions := set.Captions(i)
		if len(captions) == 0 {
			t.Fatalf("sample %d has no caption", i)
		}
		_, _ = ids(t, set, i, len(captions)-1)
		_, _ = fileOf(t, set, i)
		_ = set.Key(i)
	}
}

func FuzzShards(f *testing.F) {
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
		openBytes(t, "fuzz.tar", content, o)
	})
}

func FuzzJSONL(f *testing.F) {
	for _, text := range []string{`{"image":"a","text":"b"}`, "{\"image\":\"a\",\"caption\":[\"b\",1,null]}\n\n{\"path\":\"a\",\"title\":1e999}", "[1]", "null", "\ufeff{}", `{"image":1,"text":{}}`, ""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, content []byte) { openBytes(t, "fuzz.jsonl", content, columns) })
}

func FuzzCSV(f *testing.F) {
	for _, text := range []string{"filepath\ttitle\na\tb\n", "title\tfilepath\r\n\"a\nb\"\tc\n", "filepath\ttitle\n", "filepath\ttitle\na\n", "\ufefffilepath\ttitle\na\t\"b\n", ""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, content []byte) { openBytes(t, "fuzz.csv", content, columns) })
}

func FuzzParquet(f *testing.F) {
	for _, name := range []string{"hub", "bytes", "paths"} {
		whole, err := os.ReadFile(filepath.Join("..", "..", "testdata", "data", name+".parquet"))
		require.NoError(f, err)
		f.Add(whole)
		f.Add(bytes.Replace(whole, []byte("caption"), []byte("picture"), -1))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<16 {
			t.Skip("a larger file says no more of our use of the library")
		}
		openBytes(t, "fuzz.parquet", content, columns)
	})
}

func FuzzSpec(f *testing.F) {
	for _, spec := range []string{"a-{00..02}.tar::b.csv", "{a,b}{c,d}", "{0..2", "{2..0}", "{0..999999}{0..9}", "::", "[", "{{}}"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		if strings.ContainsAny(spec, "/*?[") {
			t.Skip("it may name what is on this machine")
		}
		_, _ = open(t, spec, columns)
	})
}
