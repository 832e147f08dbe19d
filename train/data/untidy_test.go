package data_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/unicode"

	"github.com/goclip/goclip/train/data"
)

// in writes a text in another encoding.
func in(t *testing.T, e encoding.Encoding, text string) []byte {
	t.Helper()
	out, err := e.NewEncoder().Bytes([]byte(text))
	require.NoError(t, err)
	return out
}

var (
	utf16WithMark = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	utf16Little   = unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	utf16Big      = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
)

// TestUntidyTables reads what spreadsheets and other programs write.
func TestUntidyTables(t *testing.T) {
	rows := "filepath\ttitle\na.png\tcafé 고양이\nb.png\t\"two\nlines\"\n"
	want := []sample{{"a.png", "", []string{"café 고양이"}}, {"b.png", "", []string{"two\nlines"}}}
	comma := strings.NewReplacer("\t", ",").Replace(rows)
	lines := "{\"image\": \"a.png\", \"text\": \"café 고양이\"}\n{\"image\": \"b.png\", \"text\": \"two\\nlines\"}\n"
	western := []sample{{"a.png", "", []string{"café “x”"}}}
	for _, c := range []struct {
		name    string
		content []byte
		o       data.Options
		want    []sample
	}{
		{"plain.tsv", []byte(rows), columns, want},
		{"mark.tsv", []byte("\ufeff" + rows), columns, want},
		{"mark before quotes.csv", []byte("\ufeff\"filepath\",\"title\"\na.png,a 5\" pipe\n"), columns, []sample{{"a.png", "", []string{`a 5" pipe`}}}},
		{"utf-16.tsv", in(t, utf16WithMark, rows), columns, want},
		{"utf-16, no mark.tsv", in(t, utf16Little, rows), columns, want},
		{"utf-16, big, no mark.tsv", in(t, utf16Big, rows), columns, want},
		{"utf-16.csv", in(t, utf16WithMark, comma), columns, want},
		{"utf-16.jsonl", in(t, utf16WithMark, lines), columns, want},
		{"utf-16, named.jsonl", in(t, utf16Little, lines), data.Options{Encoding: "utf-16le"}, want},
		{"utf-8, named.tsv", []byte("\ufeff" + rows), data.Options{Encoding: "UTF-8"}, want},
		{"cp1252.tsv", in(t, charmap.Windows1252, "filepath\ttitle\na.png\tcafé “x”\n"), data.Options{Encoding: "windows-1252"}, western},
		{"cp1252.jsonl", in(t, charmap.Windows1252, `{"path": "a.png", "title": "café “x”"}`), data.Options{Encoding: "cp1252"}, western},
		{"euc-kr.csv", in(t, korean.EUCKR, "filepath,title\na.png,고양이\n"), data.Options{Encoding: "euc-kr"}, []sample{{"a.png", "", []string{"고양이"}}}},
		{"the sign itself.tsv", []byte("filepath\ttitle\na.png\t\ufffd\n"), columns, []sample{{"a.png", "", []string{"\ufffd"}}}},
		{"the sign itself.jsonl", []byte(`{"path": "a.png", "title": "\uFFFD"}`), columns, []sample{{"a.png", "", []string{"\ufffd"}}}},
		{"semicolon.csv", []byte("title;filepath\n\"a; b\";a.png\n"), columns, []sample{{"a.png", "", []string{"a; b"}}}},
		{"bar.txt.csv", []byte("title|filepath\na, b|a.png\n"), columns, []sample{{"a.png", "", []string{"a, b"}}}},
		{"comma with tabs.csv", []byte("title,filepath\na\tb,a.png\n"), columns, []sample{{"a.png", "", []string{"a\tb"}}}},
		{"tab with commas.csv", []byte("title, in English\tfilepath\ttitle\nx\ta.png\ta, b\n"), columns, []sample{{"a.png", "", []string{"a, b"}}}},
		{"short rows.tsv", []byte("filepath\ttitle\na.png\nb.png\tx\n"), columns, []sample{{"a.png", "", []string{""}}, {"b.png", "", []string{"x"}}}},
	} {
		dir := tree(t, map[string][]byte{c.name: c.content, "a.png": nil, "b.png": nil})
		set, err := open(t, filepath.Join(dir, c.name), c.o)
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, samples(t, set, ""), c.name)
	}
}

// TestUntidyTableRefusals names the line, and writes no U+FFFD in place of what it cannot read.
func TestUntidyTableRefusals(t *testing.T) {
	header := "filepath\ttitle\n"
	for _, c := range []struct {
		name    string
		content []byte
		o       data.Options
		want    string
	}{
		{"open.tsv", []byte(header + "a.png\tx\nb.png\t\"no end\nc.png\ty\n"), columns, "open.tsv: line 3: a quotation mark opens a field and none closes it"},
		{"long.tsv", []byte(header + "a.png\tx\ny\tz\nb.png\tx\ty\n"), columns, "long.tsv: line 4 has 3 fields and the header has 2"},
		{"after lines.tsv", []byte(header + "a.png\t\"x\r\ny\rz\"\r\n\r\nb.png\tx\ty\n"), columns, "line 6 has 3 fields and the header has 2"},
		{"cp1252.tsv", append([]byte(header+"a.png\tx\nb.png\tcaf"), 0xe9, '\n'), columns,
			`cp1252.tsv: line 3: the byte 0xe9 is not UTF-8; Encoding names another, such as "windows-1252"`},
		{"cp1252.jsonl", append([]byte("{\"path\": \"a\", \"title\": \"x\"}\n{\"path\": \"a\", \"title\": \"caf"), 0xe9, '"', '}'), columns, "cp1252.jsonl: line 2: the byte 0xe9 is not UTF-8; Encoding"},
		{"cut character.tsv", []byte(header + "a.png\tcaf\xc3"), columns, "line 2: the byte 0xc3 is not UTF-8"},
		{"odd.tsv", append(in(t, utf16WithMark, header+"a.png\tx"), 0x41), columns, "odd.tsv: line 2 is not UTF-16; Encoding names another"},
		{"half a pair.tsv", append(in(t, utf16WithMark, header+"a.png\t"), 0x3d, 0xd8, 'x', 0), columns, "line 2 is not UTF-16"},
		{"wrong.csv", []byte("filepath,title\na.png,\xff\xff\n"), data.Options{Encoding: "euc-kr"}, "wrong.csv: line 2 is not euc-kr; Encoding names another"},
		{"half a pair.jsonl", []byte(`{"path": "a", "title": "x\ud83d"}`), columns, `line 1: the caption is "x\ud83d", which has half of a surrogate pair`},
		{"a.tsv", []byte(header), data.Options{Encoding: "klingon"}, `a.tsv: the encoding "klingon" is not known; Encoding is a name such as utf-8,`},
		{"comma.csv", []byte("filepath,title\na.png,x\n"), data.Options{Separator: ";"}, `it has no column "filepath", only ["filepath,title"]; ImageKey names another`},
		{"endless.tsv", append([]byte(header+"a.png\t\""), bytes.Repeat([]byte("x\n"), 9<<20)...), columns, "line 2: a quotation mark opens a field of more than 16777216 bytes; is it ever closed?"},
		{"wide.tsv", append([]byte(header+"a.png\t"), bytes.Repeat([]byte("x"), 17<<20)...), columns, "line 2: a row has more than 16777216 bytes"},
	} {
		dir := tree(t, map[string][]byte{c.name: c.content})
		_, err := open(t, filepath.Join(dir, c.name), c.o)
		assert.ErrorContains(t, err, c.want, c.name)
	}
}

// TestUntidyShards reads shards as people pack them, and says where one was cut.
func TestUntidyShards(t *testing.T) {
	plain := [][]string{{"x", "1", "3"}, {"y", "4", "5"}}
	for name, members := range map[string][]string{
		"AppleDouble":         {"._x.png", "x.png", "._x.txt", "x.txt", "y.png", "y.txt"},
		"Finder":              {".DS_Store", "x.png", ".DS_Store", "x.txt", "y.png", "y.txt"},
		"a folder":            {"d/", "x.png", "d/", "x.txt", "y.png", "y.txt"},
		"hidden in a folder":  {"d/", "x.png", "d/._x.txt", "x.txt", "y.png", "y.txt"},
		"others":              {"README", "x.png", "notes.md", "x.txt", "y.png", "y.txt"},
		"others of the key":   {"x.npy", "x.png", "x.npy", "x.txt", "y.png", "y.txt"},
		"a caption's own key": {"x.png.md5", "x.png", "x.txt.md5", "x.txt", "y.png", "y.txt"},
	} {
		assert.Equal(t, plain, split(t, named(t, members...), data.Options{}), name)
	}

	whole := tarOf(t, member{"1.jpg", "picture"}, member{"1.txt", "x"}, member{"2.jpg", "another"}, member{"2.txt", "y"})
	for _, end := range []int{0, 512, 1024} { // a program may write no more than one block of zeros, or many
		archive := append(bytes.Clone(whole[:8*512]), make([]byte, end)...)
		dir := tree(t, map[string][]byte{"s.tar": archive, "s.tar.gz": gzipped(t, archive)})
		for _, name := range []string{"s.tar", "s.tar.gz"} {
			set, err := open(t, filepath.Join(dir, name), data.Options{Cache: filepath.Join(dir, "cache")})
			if end == 0 {
				assert.ErrorContains(t, err, name+" is damaged: it ends at byte 4096, after 2.txt, without the end of an archive: it was cut, or never finished")
				continue
			}
			require.NoError(t, err)
			assert.Equal(t, 2, set.Len())
		}
	}
	dir := tree(t, map[string][]byte{"cut.tar": whole[:4*512]})
	_, err := open(t, filepath.Join(dir, "cut.tar"), data.Options{})
	assert.ErrorContains(t, err, "it ends at byte 2048, after 1.txt, without the end of an archive")
}

// TestPaddedGzip reads the zeros that follow, and refuses what is none.
func TestPaddedGzip(t *testing.T) {
	whole := tarOf(t, member{"1.jpg", "picture"}, member{"1.txt", "x"})
	half := append(gzipped(t, whole[:700]), gzipped(t, whole[700:])...)
	for name, content := range map[string][]byte{
		"padded.tgz": append(gzipped(t, whole), make([]byte, 10240)...), "members.tgz": half, "padded members.tgz": append(half, make([]byte, 3)...),
	} {
		dir := tree(t, map[string][]byte{name: content})
		set, err := open(t, filepath.Join(dir, name), data.Options{Cache: filepath.Join(dir, "cache")})
		require.NoError(t, err, name)
		assert.Equal(t, "picture", samples(t, set, dir)[0].image, name)
	}
	for name, tail := range map[string]string{"it is damaged: something follows the zeros at its end": "\x00\x00x", "gzip: invalid header": "rest of a file"} {
		dir := tree(t, map[string][]byte{"s.tgz": append(gzipped(t, whole), tail...)})
		_, err := open(t, filepath.Join(dir, "s.tgz"), data.Options{Cache: filepath.Join(dir, "cache")})
		assert.ErrorContains(t, err, name)
	}
}

// TestForeignCaptions reads captions of their own files in other encodings, and names what is of
// none.
func TestForeignCaptions(t *testing.T) {
	for name, c := range map[string]struct {
		text []byte
		o    data.Options
		want string
	}{
		"mark":       {[]byte("\ufeffa café"), data.Options{}, "a café"},
		"utf-16":     {in(t, utf16WithMark, "a café\r\n"), data.Options{}, "a café\r\n"},
		"cp1252":     {in(t, charmap.Windows1252, "a café"), data.Options{Encoding: "windows-1252"}, "a café"},
		"a long one": {bytes.Repeat([]byte("고"), 400_000), data.Options{}, strings.Repeat("고", (1<<20)/3)},
	} {
		dir := tree(t, map[string][]byte{"p/a.jpg": []byte("1"), "p/a.txt": c.text, "s.tar": tarOf(t, member{"a.jpg", "1"}, member{"a.txt", string(c.text)})})
		for _, source := range []string{"p", "s.tar"} {
			set, err := open(t, filepath.Join(dir, source), c.o)
			require.NoError(t, err, name)
			assert.Equal(t, []string{c.want}, set.Captions(0), name+" "+source)
		}
	}
	dir := tree(t, map[string][]byte{"p/a.jpg": nil, "p/a.txt": []byte("x\ncaf\xe9"), "all.tar": tarOf(t, member{"a.jpg", "1"}, member{"a.txt", "caf\xe9"}),
		"one.tar": tarOf(t, member{"a.jpg", "1"}, member{"a.txt", "caf\xe9"}, member{"b.jpg", "2"}, member{"b.txt", "tea"})})
	_, err := open(t, filepath.Join(dir, "p"), data.Options{})
	assert.ErrorContains(t, err, `a.txt: line 2: the byte 0xe9 is not UTF-8; Encoding names another, such as "windows-1252"`)
	_, err = open(t, filepath.Join(dir, "all.tar"), data.Options{})
	assert.ErrorContains(t, err, `all.tar: a.txt: line 1: the byte 0xe9 is not UTF-8; Encoding names another, such as "windows-1252"`)
	set, err := open(t, filepath.Join(dir, "one.tar"), data.Options{})
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1}, []int{set.Len(), set.LeftOut()}, "one is left out, and counted")
}

// TestNoSampleSays tells what the members are, where they make no sample.
func TestNoSampleSays(t *testing.T) {
	dir := tree(t, map[string][]byte{"unsorted.tar": named(t, "a.jpg", "b.jpg", "a.txt", "b.txt"), "classes.tar": named(t, "a.jpg", "a.cls", "b.jpg", "b.cls", "c.cls")})
	_, err := open(t, filepath.Join(dir, "unsorted.tar"), data.Options{})
	assert.ErrorContains(t, err, "unsorted.tar holds no sample; a sample is an image (.jpg, .png, .jpeg, .webp, .gif, .bmp, .tif, .tiff) and a .txt of the same name, one after the other; its members end in .jpg, .txt")
	_, err = open(t, filepath.Join(dir, "classes.tar"), data.Options{})
	assert.ErrorContains(t, err, "its members end in .cls, .jpg")
}

// TestLines reads lists as other systems write them.
func TestLines(t *testing.T) {
	for _, c := range []struct {
		name, encoding string
		content        []byte
		want           []string
		err            string
	}{
		{"plain", "", []byte("a\nb\n"), []string{"a", "b"}, ""},
		{"no end", "", []byte("a\n\n b"), []string{"a", "", " b"}, ""},
		{"Windows", "", []byte("\ufeffdog\r\n\r\ncat\r\n"), []string{"dog", "", "cat"}, ""},
		{"old Macintosh", "", []byte("dog\rcat\r"), []string{"dog", "cat"}, ""},
		{"UTF-16", "", in(t, utf16WithMark, "개\r\ncat"), []string{"개", "cat"}, ""},
		{"UTF-16, no mark", "", in(t, utf16Little, "dogs\ncat\n"), []string{"dogs", "cat"}, ""},
		{"named", "euc-kr", in(t, korean.EUCKR, "개\n"), []string{"개"}, ""},
		{"empty", "", nil, nil, ""},
		{"cp1252", "", []byte("dog\ncaf\xe9\n"), []string{"dog"}, "line 2: the byte 0xe9 is not UTF-8"},
		{"endless", "", bytes.Repeat([]byte("a"), 2<<20), nil, "a line is longer than 1048576 bytes"},
	} {
		var got []string
		var failed error
		for line, err := range data.Lines(bytes.NewReader(c.content), c.encoding) {
			if failed = err; err == nil {
				got = append(got, line)
			}
		}
		assert.Equal(t, c.want, got, c.name)
		if c.err == "" {
			assert.NoError(t, failed, c.name)
		} else {
			assert.ErrorContains(t, failed, c.err, c.name)
		}
	}
}
