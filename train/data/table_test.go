package data_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train/data"
)

// columns are the defaults.
var columns = data.Options{}

func TestTables(t *testing.T) {
	dir := tree(t, map[string][]byte{"p/1.png": []byte("1"), "p/2.png": []byte("2"),
		"a.tsv":   []byte("\ufefftitle\tfilepath\na \"dog\"\tp/1.png\ncar\tp/2.png\npuppy\tp/1.png\n"),
		"a.csv":   []byte("title,filepath\n\"a, dog\",p/1.png\n"),
		"a.jsonl": []byte("\ufeff{\"image\": \"p/1.png\", \"caption\": \"dog\"}\n\n {\"caption\": [\"car\", 5], \"image\": \"p/2.png\", \"more\": {}}\n{\"image\":\"p/1.png\",\"caption\":null}\n{\"image\":\"p/1.png\",\"caption\":\"puppy\"}"),
		"c.csv":   []byte("filepath,size\np/1.png,3\np/2.png,4\n"),
		"b.jsonl": []byte(`{"path": "p/1.png", "filepath": "p/2.png", "title": 3.50}`),
	})
	comma, each, bare := columns, columns, columns
	comma.Separator, each.CaptionEach, bare.Uncaptioned = ",", true, true
	none := columns
	none.Separator, none.Uncaptioned = ",", true
	for _, c := range []struct {
		name    string
		o       data.Options
		want    []sample
		leftOut int
	}{
		{"a.tsv", columns, []sample{{"p/1.png", "1", []string{`a "dog"`, "puppy"}}, {"p/2.png", "2", []string{"car"}}}, 0},
		{"a.tsv", each, []sample{{"p/1.png", "1", []string{`a "dog"`}}, {"p/2.png", "2", []string{"car"}}, {"p/1.png", "1", []string{"puppy"}}}, 0},
		{"a.csv", comma, []sample{{"p/1.png", "1", []string{"a, dog"}}}, 0},
		{"a.jsonl", columns, []sample{{"p/1.png", "1", []string{"dog", "puppy"}}, {"p/2.png", "2", []string{"car", "5"}}}, 1},
		{"a.jsonl", each, []sample{{"p/1.png", "1", []string{"dog"}}, {"p/2.png", "2", []string{"car"}}, {"p/2.png", "2", []string{"5"}}, {"p/1.png", "1", []string{"puppy"}}}, 1},
		{"a.jsonl", bare, []sample{{"p/1.png", "1", []string{"dog", "puppy"}}, {"p/2.png", "2", []string{"car", "5"}}}, 0},
		{"c.csv", none, []sample{{"p/1.png", "1", nil}, {"p/2.png", "2", nil}}, 0},
		{"b.jsonl", columns, []sample{{"p/2.png", "2", []string{"3.50"}}}, 0},
	} {
		set, err := open(t, filepath.Join(dir, c.name), c.o)
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, samples(t, set, ""), c.name)
		assert.Equal(t, c.leftOut, set.LeftOut(), c.name)
	}
}

func TestTableRefusals(t *testing.T) {
	other := columns
	other.ImageKey = "picture"
	for _, c := range []struct {
		name, content string
		o             data.Options
		want          string
	}{
		{"a.csv", "", columns, "a.csv: it is empty; the first line must name the columns"},
		{"a.csv", "filepath\ttitle\n\t\n", columns, "no row has an image and a caption"},
		{"a.jsonl", "", columns, "a.jsonl: it is empty; each line must be a JSON object"},
		{"a.jsonl", "{\"image\":\"a\",\"text\":\"b\"}\n[1]\n", columns, "a.jsonl: line 2 is not a JSON object such as"},
		{"a.jsonl", "null", columns, "line 1 is not a JSON object"},
		{"a.jsonl", "{\"image\":\"a\",\"text\":\"b\"}\n\n{\"image\": \"a\"", columns, "line 3 is not a JSON object"},
		{"a.jsonl", `{"src":"a","text":"b"}`, columns, `line 1: it has no key "filepath", only ["src" "text"]; ImageKey names another`},
		{"a.jsonl", `{"image":"a","text":"b"}`, other, `line 1: it has no key "picture", only ["image" "text"]; ImageKey names another`},
		{"a.jsonl", `{"image":"a","alt":"b"}`, columns, `it has no key "title", only ["alt" "image"]; CaptionKey names another`},
		{"a.jsonl", `{"image":{"path":"a"},"text":"b"}`, columns, `line 1: the image is {"path":"a"}; it must be a path`},
		{"a.jsonl", `{"image":"a","text":{"en":"b"}}`, columns, `line 1: the caption is {"en":"b"}; it must be a text or a list of texts`},
		{"a.jsonl", `{"image":"a","text":[["b"]]}`, columns, `line 1: the caption is [["b"]]; it must be a text or a list of texts`},
		{"a.jsonl", `{"image":"a","text":"` + strings.Repeat("x", 17<<20) + `"}`, columns, "line 1 is longer than 16777216 bytes"},
		{"a.parquet", "PAR1 no", columns, "a.parquet: it is not a Parquet file"},
		{"a.parquet", "", columns, "a.parquet: it is not a Parquet file"},
		{"a.parquet", "PAR1----\xff\xff\xff\x7fPAR1", columns, "a.parquet: it is not a Parquet file: its footer claims 2147483647 bytes of the file's 16"},
		{"a.zip", "", columns, `the extension ".zip" tells none of csv, jsonl, parquet, webdataset; give Kind`},
	} {
		dir := tree(t, map[string][]byte{c.name: []byte(c.content)})
		_, err := open(t, filepath.Join(dir, c.name), c.o)
		assert.ErrorContains(t, err, c.want)
	}
	for spec, want := range map[string]string{
		"":                             "a source is empty",
		"a.csv::":                      "a.csv: no such file",
		"{0..2":                        "a brace is not closed",
		"{0000000000000000000..9}.tar": "{0000000000000000000..9} is not a range such as {00000..00012}",
		"{2..0}.tar":                   "{2..0} is not a range such as {00000..00012}",
		"{0..999999}{0..9}.tar":        "means more than 1048576 files",
		"*.nothing":                    "no file matches *.nothing",
		"gone-{0..3}.csv::b.jsonl":     "gone-0.csv: no such file",
	} {
		_, err := open(t, spec, columns)
		assert.ErrorContains(t, err, want)
	}
}

// TestParquetOfPyArrow reads what testdata/data/make_parquet.py wrote with pyarrow.
func TestParquetOfPyArrow(t *testing.T) {
	from := filepath.Join("..", "..", "testdata", "data")
	o := columns
	o.Cache = t.TempDir()
	set, err := open(t, filepath.Join(from, "hub.parquet"), o)
	require.NoError(t, err)
	require.Equal(t, 7, set.Len())
	for range 2 { // the second time from what is unpacked
		for i := range 7 {
			want := []string{"row " + string('0'+byte(i))}
			if i%2 == 1 {
				want = append(want, "the "+string('0'+byte(i))+"th")
			}
			assert.Equal(t, want, set.Captions(i))
			assert.Equal(t, uint8(10*i), level(t, set, i))
			assert.Contains(t, set.Key(i), "hub.parquet:row "+string('0'+byte(i)))
		}
		set, err = open(t, filepath.Join(from, "hub.parquet"), o)
		require.NoError(t, err)
	}
	o.CaptionEach = true
	set, err = open(t, filepath.Join(from, "hub.parquet"), o)
	require.NoError(t, err)
	assert.Equal(t, 10, set.Len())
	first, _ := ids(t, set, 1, 0)
	second, _ := ids(t, set, 2, 0)
	assert.Equal(t, first, second, "one image, two captions")
	o.CaptionEach = false

	o.ImageKey = "jpg"
	set, err = open(t, filepath.Join(from, "bytes.parquet"), o)
	require.NoError(t, err)
	require.Equal(t, 5, set.Len(), "row 2 has no caption and row 3 no image")
	assert.Equal(t, 2, set.LeftOut())
	assert.Equal(t, []string{"four"}, set.Captions(2))
	assert.Equal(t, uint8(40), level(t, set, 2))

	o.Uncaptioned = true
	set, err = open(t, filepath.Join(from, "bytes.parquet"), o)
	require.NoError(t, err)
	assert.Equal(t, 6, set.Len())
	assert.Equal(t, 1, set.LeftOut())
	assert.Empty(t, set.Captions(2))
	o.Uncaptioned = false

	o.ImageKey = "filepath"
	set, err = open(t, filepath.Join(from, "paths.parquet"), o)
	require.NoError(t, err)
	assert.Equal(t, []string{"0.png", "1.png", "2.png", "3.png"}, []string{set.Key(0), set.Key(1), set.Key(2), set.Key(3)})
	assert.Equal(t, []string{"zero", "one"}, set.Captions(0))
	assert.Equal(t, []string{"three"}, set.Captions(1))

	for says, set := range map[string]func(o *data.Options){
		`it has no column "picture", only ["image" "caption" "id"]; ImageKey names another`: func(o *data.Options) { o.ImageKey = "picture" },
		`it has no column "words", only ["image" "caption" "id"]; CaptionKey names another`: func(o *data.Options) { o.CaptionKey = "words" },
		`the column "id" is of `:     func(o *data.Options) { o.CaptionKey = "id" },
		`the column "caption" is of`: func(o *data.Options) { o.ImageKey = "caption" },
	} {
		wrong := o
		set(&wrong)
		_, err := open(t, filepath.Join(from, "hub.parquet"), wrong)
		assert.ErrorContains(t, err, says)
	}
	o.CaptionKey, o.Uncaptioned = "words", true
	_, err = open(t, filepath.Join(from, "hub.parquet"), o)
	assert.ErrorContains(t, err, `it has no column "words"`, "it was asked for by its name")
	o.CaptionKey, o.Uncaptioned = "", false
	whole, err := os.ReadFile(filepath.Join(from, "hub.parquet"))
	require.NoError(t, err)
	for _, at := range []int{10, 60, 200, len(whole) / 2} { // pages that say something else, and fewer of them
		bad := append([]byte(nil), whole...)
		for i := range 40 {
			bad[at+i] ^= 0x5a
		}
		path := filepath.Join(t.TempDir(), "bad.parquet")
		require.NoError(t, os.WriteFile(path, bad, 0o644))
		if set, err := open(t, path, o); err != nil {
			assert.ErrorContains(t, err, "bad.parquet")
		} else {
			_ = samples(t, set, "")
		}
	}
}

// level is the grey of a sample's image.
func level(t *testing.T, set data.Dataset, i int) uint8 {
	t.Helper()
	b, err := fileOf(t, set, i)
	require.NoError(t, err)
	img, err := decode(b)
	require.NoError(t, err)
	return img.Pix[0]
}

func TestFoldersToTrainOn(t *testing.T) {
	classes := tree(t, map[string][]byte{"tiger cat/a.jpg": []byte("1"), "tiger cat/b.jpg": []byte("2"), "ant/x.png": []byte("3"), "ant/notes.txt": []byte("no pair")})
	o := columns
	o.Classes = func(folders []string) (out [][]string, err error) {
		for _, f := range folders {
			out = append(out, []string{"a photo of a " + f + ".", "a drawing of a " + f + "."})
		}
		return out, nil
	}
	set, err := open(t, classes, o)
	require.NoError(t, err)
	cat := []string{"a photo of a tiger cat.", "a drawing of a tiger cat."}
	assert.Equal(t, []sample{{"ant/x.png", "3", []string{"a photo of a ant.", "a drawing of a ant."}}, {"tiger cat/a.jpg", "1", cat}, {"tiger cat/b.jpg", "2", cat}}, samples(t, set, classes))
	ant, antText := ids(t, set, 0, 1)
	image1, text1 := ids(t, set, 1, 0)
	image2, text2 := ids(t, set, 2, 1)
	assert.Equal(t, []int64{image1, image1, image1}, []int64{text1, image2, text2}, "the class's, whatever the image and template")
	assert.Equal(t, ant, antText)
	assert.NotEqual(t, ant, image1)

	pairs := tree(t, map[string][]byte{"a.jpg": []byte("1"), "a.txt": []byte("one\ntwo\n"), "deep/b.png": []byte("2"), "deep/b.txt": []byte("three"), "c.jpg": []byte("alone"), ".d.jpg": []byte("hidden"), ".d.txt": nil})
	o = columns
	o.CaptionLines = true
	set, err = open(t, pairs+"/", o)
	require.NoError(t, err)
	assert.Equal(t, []sample{{"a.jpg", "1", []string{"one", "two"}}, {"deep/b.png", "2", []string{"three"}}}, samples(t, set, pairs))
	assert.Equal(t, 1, set.LeftOut())
	o.Kind = "pairs"
	_, err = open(t, classes, o)
	assert.ErrorContains(t, err, "holds no image with a .txt of the same name beside it")
}

// TestSources joins sources of different kinds.
func TestSources(t *testing.T) {
	dir := tree(t, map[string][]byte{"p/1.png": []byte("1"), "a.tsv": []byte("filepath\ttitle\np/1.png\tdog\n"),
		"0.tar": tarOf(t, member{"x.jpg", "x"}, member{"x.txt", "dog"}), "1.tar": tarOf(t, member{"x.jpg", "y"}, member{"x.txt", "car"})})
	set, err := open(t, filepath.Join(dir, "a.tsv")+"::"+filepath.Join(dir, "{0..1}.tar"), columns)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 2}, set.Parts())
	assert.Equal(t, []sample{{"p/1.png", "1", []string{"dog"}}, {"0.tar:x", "x", []string{"dog"}}, {"1.tar:x", "y", []string{"car"}}}, samples(t, set, dir))
	images, texts := map[int64]bool{}, map[int64]bool{}
	for i := range 3 {
		image, text := ids(t, set, i, 0)
		images[image], texts[text] = true, true
	}
	assert.Len(t, images, 3)
	assert.Len(t, texts, 2, "the same words in two sources are the same text")

	other, err := open(t, filepath.Join(dir, "{0..1}.tar"), columns)
	require.NoError(t, err)
	again, err := open(t, filepath.Join(dir, "*.tar"), columns)
	require.NoError(t, err)
	assert.Equal(t, fingerprint(t, other), fingerprint(t, again))
	assert.NotEqual(t, fingerprint(t, other), fingerprint(t, set))

	made, err := open(t, "", data.Options{Kind: "synthetic", Samples: 5, Size: [2]int{8, 6}})
	require.NoError(t, err)
	assert.Equal(t, 5, made.Len())
	assert.Equal(t, []string{"Dummy caption"}, made.Captions(4))
	b, err := fileOf(t, made, 4)
	require.NoError(t, err)
	img, err := decode(b)
	require.NoError(t, err)
	assert.Equal(t, []int{8, 6}, []int{img.Height, img.Width})
	_, err = open(t, "", data.Options{Kind: "synthetic"})
	assert.ErrorContains(t, err, "Samples 0: synthetic data has at least 1")
}
