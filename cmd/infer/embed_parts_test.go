package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// readTree is every file below a directory, hidden ones too.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[strings.TrimPrefix(path, dir+"/")] = string(readFile(t, path))
		}
		return err
	}))
	return files
}

func readMetadata(t *testing.T, path string) []metadata {
	t.Helper()
	rows, err := parquet.ReadFile[metadata](path)
	require.NoError(t, err)
	return rows
}

// near compares rows of an array with those of clip itself.
func near(t *testing.T, want, got [][]float32) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		assert.InDeltaSlice(t, want[i], got[i], 1e-5, "row %d", i)
	}
}

// testImages are images of several formats in a directory, with a hidden one, one in a
// directory below, and one that cannot be read; good are those that can, in their order.
func testImages(t *testing.T) (dir string, good []string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "c", ".hidden"), 0o755))
	for name, from := range map[string]string{"a.png": "rgb_129x200.png", "b.gif": "grey.gif", "c/1.webp": "cat_lossy.webp", "c/.hidden/2.png": "face.png",
		"d.jpg": "cup_444.jpg", "f\xff.png": "face.png", ".g.png": "face.png"} {
		writeFile(t, dir, name, readFile(t, testImage(from)))
	}
	writeFile(t, dir, "e.png", []byte("no image"))
	writeFile(t, dir, "notes.txt", []byte("no image"))
	return dir, []string{dir + "/a.png", dir + "/b.gif", dir + "/c/1.webp", dir + "/d.jpg", dir + "/f\xff.png"}
}

// TestEmbedDirectory is a plain run over a directory: it has the files of every plain run.
func TestEmbedDirectory(t *testing.T) {
	tiny, out := tinyModel(t), filepath.Join(t.TempDir(), "out")
	dir, good := testImages(t)
	_, images, _ := features(t, tiny, good, nil)
	code, _, errs := infer(t, "", "embed", "--model", tiny, "--out", out, dir)
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "e.png: not an image")
	assert.Equal(t, []string{"errors.jsonl", "image_features.npy", "images.jsonl"}, names(t, out))
	near(t, images, readNpy(t, filepath.Join(out, "image_features.npy")))

	code, _, errs = infer(t, "", "embed", "--model", tiny, "--out", out, filepath.Join(dir, "c", ".hidden", ".."), t.TempDir())
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "holds no image")
}

func TestEmbedParts(t *testing.T) {
	before := settled.Count(torch.LiveTensors)
	tiny, out := tinyModel(t), filepath.Join(t.TempDir(), "deep", "out")
	dir, good := testImages(t)
	_, images, _ := features(t, tiny, good, nil)
	args := []string{"embed", "--model", tiny, "--out", out, "--part-size", "2", "--batch-size", "2", "--images", dir}
	code, stdout, errs := infer(t, "", args...)
	assert.Equal(t, 1, code)
	assert.Empty(t, stdout)
	assert.Contains(t, errs, "e.png: not an image")
	assert.Contains(t, errs, "infer: "+out+": 5 images in 3 parts, 1 could not be read (errors/)")
	tree := readTree(t, out)
	assert.Len(t, tree, 3+3+1+1)
	at := 0
	for part, n := range []int{2, 2, 1} {
		rows := readNpy(t, fmt.Sprintf("%s/img_emb/img_emb_%04d.npy", out, part))
		near(t, images[at:at+n], rows)
		for i, row := range readMetadata(t, fmt.Sprintf("%s/metadata/metadata_%04d.parquet", out, part)) {
			assert.Equal(t, int64(i), row.Row)
			assert.Equal(t, strings.ToValidUTF8(good[at+i], "\ufffd"), row.ImagePath)
			assert.Empty(t, row.Caption)
			if at+i == 0 {
				assert.Equal(t, []int32{129, 200}, []int32{row.Width, row.Height})
			}
			assert.Positive(t, row.Width*row.Height)
		}
		at += n
	}
	unread := readLinesOf(t, filepath.Join(out, "errors", "errors_0002.jsonl"))
	require.Len(t, unread, 1)
	assert.Equal(t, filepath.Join(dir, "e.png"), unread[0]["path"])

	t.Run("again", func(t *testing.T) {
		made, err := os.Stat(filepath.Join(out, "img_emb", "img_emb_0000.npy"))
		require.NoError(t, err)
		code, _, errs := infer(t, "", args...)
		assert.Equal(t, 1, code, "there is still an image that cannot be read")
		assert.Equal(t, "infer: "+out+": 0 images in 0 parts, 3 parts complete before", oneLine(t, errs))
		assert.Equal(t, tree, readTree(t, out))
		kept, err := os.Stat(filepath.Join(out, "img_emb", "img_emb_0000.npy"))
		require.NoError(t, err)
		assert.Equal(t, made.ModTime(), kept.ModTime())
	})
	t.Run("what a stop leaves", func(t *testing.T) {
		require.NoError(t, os.Remove(filepath.Join(out, "metadata", "metadata_0001.parquet")))
		require.NoError(t, os.Remove(filepath.Join(out, "img_emb", "img_emb_0002.npy")))
		writeFile(t, out, "img_emb/.img_emb_0002.npy.123.tmp", []byte("half"))
		writeFile(t, out, "metadata/.metadata_0001.parquet.9.tmp", []byte("half"))
		writeFile(t, out, ".embed.json.9.tmp", []byte("half"))
		writeFile(t, out, "errors/errors_0001.jsonl", []byte("{}\n"))
		code, _, errs := infer(t, "", args...)
		assert.Equal(t, 1, code)
		assert.Contains(t, errs, "3 images in 2 parts, 1 part complete before, 1 could not be read")
		assert.Equal(t, tree, readTree(t, out))
	})
	t.Run("shared", func(t *testing.T) {
		shared := filepath.Join(t.TempDir(), "shared")
		for _, rank := range []string{"2", "0", "1"} {
			args[4] = shared
			code, _, errs := infer(t, "", append(args, "--rank", rank, "--world", "3")...)
			assert.Equal(t, map[bool]int{true: 1, false: 0}[rank == "2"], code, errs)
		}
		assert.Equal(t, tree, readTree(t, shared), "it does not depend on the number of processes")
		t.Setenv("RANK", "1")
		t.Setenv("WORLD_SIZE", "2")
		t.Setenv("LOCAL_RANK", "0")
		require.NoError(t, os.RemoveAll(shared))
		code, _, errs := infer(t, "", args...)
		assert.Equal(t, 0, code, errs)
		assert.Equal(t, []string{"img_emb_0001.npy"}, names(t, filepath.Join(shared, "img_emb")))
		code, _, errs = infer(t, "", append(args, "--rank", "0", "--world", "1")...) // what the other would have done
		assert.Equal(t, 1, code, errs)
		assert.Equal(t, tree, readTree(t, shared))
		args[4] = out
	})
	t.Run("nothing goes into the directory of another run", func(t *testing.T) {
		for _, c := range []struct {
			args []string
			says string
		}{
			{[]string{"--precision", "int8"}, "it has --precision fp32, this one int8"},
			{[]string{"--raw"}, "it has --raw false, this one true"},
			{[]string{"--part-size", "3"}, "it has --part-size 2, this one 3"},
			{[]string{"--images", good[0]}, "its inputs are others, or in another order"},
			{[]string{"--model", "emoji-64"}, "of the model " + tiny + ": its features have 16 numbers"},
		} {
			code, _, errs := infer(t, "", append(args, c.args...)...)
			assert.Equal(t, 1, code)
			line := oneLine(t, errs)
			assert.Contains(t, line, out+" holds parts of another run: "+c.says)
			assert.Contains(t, line, "take another --out")
			assert.Equal(t, tree, readTree(t, out))
			assert.NoDirExists(t, filepath.Join(out, "text_emb"))
		}
		broken := t.TempDir()
		writeFile(t, broken, manifestFile, []byte("{"))
		args[4] = broken
		code, _, errs := infer(t, "", args...)
		args[4] = out
		assert.Equal(t, 1, code)
		assert.Contains(t, oneLine(t, errs), "embed.json does not tell what the parts are")
	})
	assert.Equal(t, before, settled.Count(torch.LiveTensors))
}

// TestEmbedData embeds shards and tables, with and without their captions.
func TestEmbedData(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	byCaption := emoji(t, dir, 6)
	var captions, paths []string
	table, lines := "title,filepath\n", ""
	for caption, name := range byCaption {
		captions, paths = append(captions, caption), append(paths, filepath.Join(dir, name))
		table += fmt.Sprintf("%q,%s\n", caption, name)
		lines += fmt.Sprintf("{\"path\": %q}\n", name)
	}
	captions, paths = append(captions, "another"), append(paths, paths[2])
	table += "another," + filepath.Base(paths[2]) + "\n"
	writeFile(t, dir, "table.csv", []byte(table))
	writeFile(t, dir, "table.jsonl", []byte(lines))
	_, images, words := features(t, tiny, paths, captions)
	embed := func(t *testing.T, args ...string) (out string) {
		out = filepath.Join(t.TempDir(), "out")
		code, _, errs := infer(t, "", append([]string{"embed", "--model", tiny, "--out", out}, args...)...)
		require.Zero(t, code, errs)
		return out
	}

	t.Run("table with captions", func(t *testing.T) {
		out := embed(t, "--data", filepath.Join(dir, "table.csv"), "--csv-separator", ",", "--captions", "--part-size", "4")
		assert.Equal(t, []string{"metadata_0000.parquet", "metadata_0001.parquet"}, names(t, filepath.Join(out, "metadata")))
		for part, from := range []int{0, 4} {
			to := min(from+4, len(paths))
			near(t, images[from:to], readNpy(t, fmt.Sprintf("%s/img_emb/img_emb_%04d.npy", out, part)))
			near(t, words[from:to], readNpy(t, fmt.Sprintf("%s/text_emb/text_emb_%04d.npy", out, part)))
			for i, row := range readMetadata(t, fmt.Sprintf("%s/metadata/metadata_%04d.parquet", out, part)) {
				assert.Equal(t, metadata{int64(i), filepath.Base(paths[from+i]), captions[from+i], 64, 64}, row)
			}
		}
	})
	t.Run("table without captions", func(t *testing.T) {
		out := embed(t, "--data", filepath.Join(dir, "table.jsonl"))
		assert.Equal(t, []string{"embed.json", "errors", "img_emb", "metadata"}, names(t, out))
		near(t, images[:6], readNpy(t, out+"/img_emb/img_emb_0000.npy"))
	})
	t.Run("shards", func(t *testing.T) {
		tars := filepath.Join("..", "..", "data", "openmoji-eval-{00000..00001}.tar")
		whole := embed(t, "--data", tars, "--captions", "--batch-size", "256")
		n := 0
		for part := range 2 {
			rows := readMetadata(t, fmt.Sprintf("%s/metadata/metadata_%04d.parquet", whole, part))
			pictures, texts := readNpy(t, fmt.Sprintf("%s/img_emb/img_emb_%04d.npy", whole, part)), readNpy(t, fmt.Sprintf("%s/text_emb/text_emb_%04d.npy", whole, part))
			require.Len(t, pictures, len(rows))
			require.Len(t, texts, len(rows))
			n += len(rows)
			for i, row := range rows {
				for at, caption := range captions[:6] {
					if row.Caption == caption {
						assert.InDeltaSlice(t, images[at], pictures[i], 1e-5)
						assert.InDeltaSlice(t, words[at], texts[i], 1e-5)
						assert.Contains(t, row.ImagePath, ".tar:"+strings.TrimSuffix(filepath.Base(paths[at]), ".png"))
					}
				}
			}
		}
		assert.Equal(t, 1914, n)
		code, _, errs := infer(t, "", "embed", "--model", tiny, "--out", whole, "--data", tars, "--captions", "--text-key", "caption")
		assert.Equal(t, 1, code)
		assert.Contains(t, oneLine(t, errs), "its inputs are others")
	})
	t.Run("samples without captions", func(t *testing.T) {
		shards := t.TempDir()
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, m := range []struct {
			name    string
			content []byte
		}{{"1.png", readFile(t, paths[0])}, {"1.txt", []byte(captions[0])}, {"2.png", readFile(t, paths[1])}} {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.content)), Typeflag: tar.TypeReg}))
			_, err := w.Write(m.content)
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		shard := writeFile(t, shards, "a.tar", archive.Bytes())
		near(t, images[:2], readNpy(t, embed(t, "--data", shard)+"/img_emb/img_emb_0000.npy"))
		code, _, errs := infer(t, "", "embed", "--model", tiny, "--out", filepath.Join(shards, "out"), "--data", shard, "--captions")
		require.Zero(t, code)
		assert.Contains(t, errs, "a.tar: 1 without an image, or without the caption that --captions needs, are left out")
		near(t, words[:1], readNpy(t, shards+"/out/text_emb/text_emb_0000.npy"))
	})
	t.Run("a shard that ends too early is tried again", func(t *testing.T) {
		from, shards := filepath.Join("..", "..", "data"), t.TempDir()
		good, other := readFile(t, filepath.Join(from, "unseen-emoji.tar")), readFile(t, filepath.Join(from, "unseen-emoji-outline.tar"))
		writeFile(t, shards, "0.tar", good)
		writeFile(t, shards, "1.tar", other[:len(other)/2])
		writeFile(t, shards, "2.tar", good)
		out := filepath.Join(shards, "out")
		args := []string{"embed", "--model", tiny, "--out", out, "--data", shards + "/*.tar"}
		code, _, errs := infer(t, "", args...)
		assert.Equal(t, 1, code)
		assert.Contains(t, errs, "1.tar is damaged")
		assert.Contains(t, errs, "in 2 parts, 1 part could not be read, which the same command tries again")
		assert.Equal(t, []string{"metadata_0000.parquet", "metadata_0002.parquet"}, names(t, filepath.Join(out, "metadata")))
		code, _, errs = infer(t, "", args...)
		assert.Equal(t, 1, code)
		assert.Contains(t, errs, "2 parts complete before, 1 part could not be read")
	})
	t.Run("texts", func(t *testing.T) {
		list := writeFile(t, dir, "texts.txt", []byte(strings.Join(captions, "\n")+"\n"+strings.Repeat("long ", 100)))
		out := embed(t, "--texts", list, "--part-size", "5")
		assert.Equal(t, []string{"embed.json", "errors", "metadata", "text_emb"}, names(t, out))
		near(t, words[:5], readNpy(t, out+"/text_emb/text_emb_0000.npy"))
		rows := readMetadata(t, out+"/metadata/metadata_0001.parquet")
		require.Len(t, rows, 3)
		assert.Equal(t, metadata{Row: 1, Caption: "another"}, rows[1])
	})
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--captions photos", 2, "--captions are those of --data"},
		{"--part-size -1 photos", 2, "--part-size -1: must be between 1 and"},
		{"--rank 0 photos", 2, "--rank R and --world N go together"},
		{"--rank 2 --world 2 photos", 2, "--rank R and --world N go together"},
		{"--part-size 2 --texts TXT photos", 2, "parts hold images or --texts"},
		{"--data DIR/none.csv", 1, "--data: stat DIR/none.csv: no such file"},
		{"--data DIR/{0..3}.tar", 1, "--data: stat DIR/0.tar: no such file"},
		{"--data DIR/table.csv --csv-separator ;", 1, `it has no column "filepath"`},
		{"--data DIR/table.csv --csv-separator ab", 2, "is not one character"},
		{"--data DIR/table.csv --csv-separator , --csv-caption-key words", 1, `it has no column "words"`},
		{"--data DIR/texts.txt", 1, `the extension ".txt" tells none of`},
	} {
		fill := strings.NewReplacer("DIR", dir, "TXT", filepath.Join(dir, "texts.txt"))
		code, _, errs := infer(t, "", append([]string{"embed", "--model", tiny, "--out", filepath.Join(dir, "none")}, strings.Fields(fill.Replace(c.args))...)...)
		assert.Equal(t, c.code, code, c.args)
		assert.Contains(t, oneLine(t, errs), fill.Replace(c.says))
	}
	assert.NoDirExists(t, filepath.Join(dir, "none"))
}

// TestEmbedPartsRefused has places where the files cannot be written.
func TestEmbedPartsRefused(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	pictures, _ := testImages(t)
	file := writeFile(t, dir, "file", nil)
	for _, out := range []string{file, filepath.Join(file, "x")} {
		code, _, errs := infer(t, "", "embed", "--model", tiny, "--part-size", "2", "--out", out, pictures)
		assert.Equal(t, 1, code)
		assert.Contains(t, oneLine(t, errs), file)
	}
	out := filepath.Join(dir, "full")
	args := []string{"embed", "--model", tiny, "--part-size", "3", "--out", out, filepath.Join(pictures, "a.png"), filepath.Join(pictures, "b.gif"), filepath.Join(pictures, "c", "1.webp"), filepath.Join(pictures, "d.jpg")}
	var errs bytes.Buffer
	cmd := process(args...)
	cmd.Env = append(cmd.Env, fileLimit+"=310") // the manifest is longer
	cmd.Stderr = &errs
	require.Error(t, cmd.Run())
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	assert.Contains(t, oneLine(t, errs.String()), "embed.json was not written: the disk is full")

	code, _, _ := infer(t, "", append(args, "--rank", "1", "--world", "2")...) // the manifest is there now
	require.Zero(t, code)
	errs.Reset()
	cmd = process(args...)
	cmd.Env, cmd.Stderr = append(cmd.Env, fileLimit+"=310"), &errs
	require.Error(t, cmd.Run())
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	assert.Contains(t, oneLine(t, errs.String()), "img_emb_0000.npy was not written: file too large")
	assert.Equal(t, []string{"img_emb_0001.npy"}, names(t, filepath.Join(out, "img_emb")), "nothing half-written")
	code, _, told := infer(t, "", args...)
	assert.Zero(t, code, told)
}

// Parts of texts that were read with special tokens are not resumed without them.
func TestEmbedPartsPlainText(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	args := []string{"embed", "--model", tinyModel(t), "--texts", "-", "--part-size", "1", "--out", out}
	const texts = "a dog<end_of_text>a car\n"
	code, _, errs := infer(t, texts, args...)
	require.Zero(t, code, errs)
	code, _, errs = infer(t, texts, append(args, "--plain-text")...)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "it has --plain-text false, this one true")
}
