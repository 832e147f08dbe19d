package main

import (
	"archive/tar"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
)

// imagesIn copies images into the folders of a new directory: class/name of testdata's image.
func imagesIn(t *testing.T, pictures ...[2]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range pictures {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, p[0]), 0o755))
		writeFile(t, filepath.Join(dir, p[0]), p[1], readFile(t, testImage(p[1])))
	}
	return dir
}

func classifyJSON(t *testing.T, wantCode int, args ...string) (got classification, errs string) {
	t.Helper()
	code, out, errs := infer(t, "", append([]string{"classify", "--format", "json"}, args...)...)
	require.Equal(t, wantCode, code, errs)
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	return got, errs
}

// TestClassify checks the three formats against clip's own classifier, over a directory that is
// walked, with an image that cannot be read and one that is not there.
func TestClassify(t *testing.T) {
	t.Setenv("GOCLIP_CACHE", t.TempDir())
	tiny := tinyModel(t)
	dir := imagesIn(t, [2]string{"a", "face.png"}, [2]string{"a/b", "cat_lossy.webp"}, [2]string{".hidden", "grey.gif"}, [2]string{"c", "bit.tif"})
	writeFile(t, dir, "broken.png", []byte("\x89PNG\r\n\x1a\nno more"))
	writeFile(t, dir, "notes.txt", []byte("no image"))
	gone := filepath.Join(t.TempDir(), "gone.jpg")
	readable := []string{filepath.Join(dir, "a/b/cat_lossy.webp"), filepath.Join(dir, "a/face.png"), filepath.Join(dir, "c/bit.tif")}
	paths := []string{readable[0], readable[1], filepath.Join(dir, "broken.png"), readable[2], gone}
	labels := []string{"dog", `comma, "quote" & <tag>`, "ein schönes Bild", "car"}
	templates := []string{"a {}", "the {} in the snow"}
	m, images, words := features(t, tiny, readable, nil)
	assert.Empty(t, words)
	z, err := m.Classifier(t.Context(), labels, templates...)
	require.NoError(t, err)

	list := writeFile(t, t.TempDir(), "labels.txt", []byte(labels[2]+"\r\n\n"+labels[3]+"\n"))
	args := []string{"--model", tiny, "--label", labels[0], "--label", labels[1], "--labels", list, "--template", templates[0], "--template", templates[1], "--top", "2", dir, gone}
	got, errs := classifyJSON(t, 1, args...)
	assert.Equal(t, 3, strings.Count(errs, "\n"), errs)
	assert.Contains(t, errs, "labels.txt: left out as blank: line 2\n")
	assert.Contains(t, errs, "broken.png")
	assert.Contains(t, errs, gone+": no such file")
	assert.Equal(t, tiny, got.Model)
	assert.InDelta(t, z.Scale, got.LogitScale, 1e-9)
	assert.Equal(t, labels, got.Labels)
	assert.Equal(t, templates, got.Templates)
	assert.Nil(t, got.Accuracy)
	require.Len(t, got.Images, len(paths))
	read := 0
	for i, image := range got.Images {
		assert.EqualValues(t, paths[i], image.Path)
		if i == 2 || i == 4 {
			assert.NotEmpty(t, image.Error)
			assert.Empty(t, image.Top)
			continue
		}
		want, err := z.Top(images[read:read+1], 2)
		require.NoError(t, err)
		require.Len(t, image.Top, 2)
		for j, g := range image.Top {
			class := want[0][j].Class
			assert.Equal(t, labels[class], g.Label)
			assert.InDelta(t, want[0][j].Probability, g.Prob, 1e-5)
			assert.InDelta(t, clip.Cosine(images[read], z.Weights[class]), g.Cosine, 1e-5)
		}
		read++
	}

	code, out, _ := infer(t, "", append([]string{"classify", "--format", "csv"}, args...)...)
	assert.Equal(t, 1, code)
	table, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(t, err)
	require.Len(t, table, 1+2*3+2)
	assert.Equal(t, []string{"path", "rank", "label", "cosine", "prob", "truth", "sorted", "error"}, table[0])
	assert.Equal(t, []string{readable[0], "2", got.Images[0].Top[1].Label}, table[2][:3])
	prob, err := strconv.ParseFloat(table[2][4], 64)
	require.NoError(t, err)
	assert.InDelta(t, got.Images[0].Top[1].Prob, prob, 1e-6)
	assert.Equal(t, []string{gone, "", "", "", "", "", ""}, table[8][:7])

	code, out, _ = infer(t, "", append([]string{"classify"}, args...)...)
	assert.Equal(t, 1, code)
	rows := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, rows, 1+len(paths))
	assert.Contains(t, rows[1], got.Images[0].Top[0].Label+" "+strconv.FormatFloat(got.Images[0].Top[0].Prob, 'f', 3, 64))
	assert.Contains(t, rows[5], "could not be read")

	t.Run("templates by name", func(t *testing.T) {
		for spec, n := range map[string]int{clip.ImageNet7: 7, clip.ImageNet80: 80, "": 80} {
			args := []string{"--model", tiny, "--label", "dog", readable[0]}
			if spec != "" {
				args = append(args, "--template", spec)
			}
			got, _ := classifyJSON(t, 0, args...)
			assert.Len(t, got.Templates, n)
			assert.Len(t, got.Images[0].Top, 1, "fewer classes than --top")
		}
	})
}

// TestClassifyCache counts the files of the cache, and gives a classifier that only the cache can
// have.
func TestClassifyCache(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("GOCLIP_CACHE", cache)
	tiny := tinyModel(t)
	args := []string{"--model", tiny, "--label", "dog", "--label", "car", "--template", "a {}", testImage("face.png")}
	classifyJSON(t, 0, append(args, "--no-cache")...)
	assert.Empty(t, names(t, cache))
	first, errs := classifyJSON(t, 0, args...)
	assert.Empty(t, errs)
	files := names(t, filepath.Join(cache, "classifiers"))
	require.Len(t, files, 1)
	again, _ := classifyJSON(t, 0, args...)
	assert.Equal(t, first, again)
	assert.Equal(t, files, names(t, filepath.Join(cache, "classifiers")))

	classifyJSON(t, 0, append(args, "--label", "house")...)
	files = names(t, filepath.Join(cache, "classifiers"))
	require.Len(t, files, 2)
	for _, name := range files {
		writeFile(t, filepath.Join(cache, "classifiers"), name, []byte("damaged"))
	}
	mended, errs := classifyJSON(t, 0, args...)
	assert.Equal(t, first, mended)
	assert.Contains(t, oneLine(t, errs), "is rebuilt")
	_, errs = classifyJSON(t, 0, args...)
	assert.Empty(t, errs)
}

// TestClassifyFolders holds accuracy, confusion and the page against counts made by hand.
func TestClassifyFolders(t *testing.T) {
	t.Setenv("GOCLIP_CACHE", t.TempDir())
	tiny := tinyModel(t)
	dir := imagesIn(t, [2]string{"a_face", "face.png"}, [2]string{"a_face", "rgb_63x64.png"}, [2]string{"cat", "cat_lossy.webp"}, [2]string{"cat", "grey.gif"}, [2]string{"d<e", "bit.tif"})
	broken := writeFile(t, filepath.Join(dir, "cat"), "broken.png", []byte("\x89PNG\r\n\x1a\n"))
	page := filepath.Join(t.TempDir(), "page.html")
	args := []string{"--model", tiny, "--labels-from-dirs", "--template", "a {}", "--top", "1", dir}
	got, _ := classifyJSON(t, 1, append(args, "--html", page)...)
	assert.Equal(t, []string{"a face", "cat", "d<e"}, got.Labels)
	right, cells, perClass := 0, map[[2]string]int{}, map[string][2]float64{}
	for _, image := range got.Images {
		if string(image.Path) == broken {
			assert.Equal(t, "cat", image.Truth)
			continue
		}
		require.Len(t, image.Top, 1)
		assert.Equal(t, strings.ReplaceAll(filepath.Base(filepath.Dir(string(image.Path))), "_", " "), image.Truth)
		cells[[2]string{image.Truth, image.Top[0].Label}]++
		counts := perClass[image.Truth]
		counts[1]++
		if image.Top[0].Label == image.Truth {
			right++
			counts[0]++
		}
		perClass[image.Truth] = counts
	}
	mean := 0.0
	for _, counts := range perClass {
		mean += counts[0] / counts[1] / 3
	}
	require.NotNil(t, got.Accuracy)
	assert.Equal(t, 5, got.Accuracy.Images)
	assert.InDelta(t, float64(right)/5, got.Accuracy.Top1, 1e-9)
	assert.InDelta(t, 1, got.Accuracy.Top5, 1e-9, "three classes")
	assert.InDelta(t, mean, got.Accuracy.MeanPerClass, 1e-9)
	assert.Len(t, got.Accuracy.Confusion, len(cells))
	for _, cell := range got.Accuracy.Confusion {
		assert.Equal(t, cells[[2]string{cell.Truth, cell.Label}], cell.Count)
	}

	_, out, _ := infer(t, "", append([]string{"classify"}, args...)...)
	assert.Contains(t, out, "\ntop-1 "+strconv.FormatFloat(got.Accuracy.Top1, 'f', 4, 64)+"  top-5 1.0000")
	assert.Contains(t, out, "(3 classes, 5 images)")
	assert.Contains(t, out, "\ntruth, taken for  a face  cat  d<e\n")

	html := string(readFile(t, page))
	assert.Len(t, dataURL.FindAllString(html, -1), 5)
	assert.Contains(t, html, "d&lt;e")
	assert.False(t, strings.Contains(html, "d<e"))
	assert.False(t, strings.Contains(html, "http"))
	assert.Contains(t, html, "Of 5 images the first prediction is right for ")
	assert.Equal(t, 5-right, strings.Count(html, `<span class="wrong">`))
	assert.Contains(t, html, "broken.png")
}

// TestClassifyShippedModel classifies the held-out hand's images by their names, the whole of it:
// the accuracy is the image to text recall that train measured of the same model.
func TestClassifyShippedModel(t *testing.T) {
	t.Setenv("GOCLIP_CACHE", t.TempDir())
	dir := t.TempDir()
	for _, shard := range []string{"openmoji-eval-00000.tar", "openmoji-eval-00001.tar"} {
		unpackIntoClasses(t, filepath.Join("..", "..", "data", shard), dir)
	}
	got, _ := classifyJSON(t, 0, "--model", models.Default, "--labels-from-dirs", "--template", "{}", "--top", "1", dir)
	require.NotNil(t, got.Accuracy)
	assert.Equal(t, 1914, got.Accuracy.Images)
	assert.InDelta(t, 0.1191, got.Accuracy.Top1, 0.002)
	assert.InDelta(t, 0.2968, got.Accuracy.Top5, 0.002)
}

// unpackIntoClasses writes a shard's images to DIR/CAPTION/KEY.png.
func unpackIntoClasses(t *testing.T, shard, dir string) {
	t.Helper()
	f, err := os.Open(shard)
	require.NoError(t, err)
	defer f.Close()
	pictures, captions := map[string][]byte{}, map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		switch key, ext, _ := strings.Cut(h.Name, "."); ext {
		case "png":
			pictures[key] = data
		case "txt":
			captions[key] = string(data)
		}
	}
	for key, data := range pictures {
		class := filepath.Join(dir, captions[key])
		require.NoError(t, os.MkdirAll(class, 0o755))
		writeFile(t, class, key+".png", data)
	}
}

func TestClassifyCommandLine(t *testing.T) {
	t.Setenv("GOCLIP_CACHE", t.TempDir())
	tiny, face, dir := tinyModel(t), testImage("face.png"), t.TempDir()
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.Mkdir(empty, 0o755))
	file := writeFile(t, dir, "file", nil)
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"FACE", 2, "no class: give --label NAME, --labels FILE or --labels-from-dirs"},
		{"--label a", 2, "no image: give the PATH"},
		{"--label a --labels-from-dirs FACE", 2, "it goes without --label and --labels"},
		{"--labels-from-dirs FACE FACE", 2, "takes one PATH"},
		{"--label a --top 0 FACE", 2, "--top 0: must be 1 or more"},
		{"--label a --copy FACE", 2, "--copy and --dry-run go with --sort-into"},
		{"--label a --format html FACE", 2, "--format must be one of"},
		{"--label a --label a FACE", 1, `the class "a" is given twice`},
		{"--labels DIR/gone FACE", 1, "--labels: open DIR/gone"},
		{"--label a --template dog FACE", 1, `--template: "dog" is not a set of templates (openai_imagenet_80, openai_imagenet_7, openai_cifar_18), no file`},
		{"--label a DIR/empty", 1, "DIR/empty holds no image"},
		{"--labels-from-dirs DIR/empty", 1, "DIR/empty holds no folder"},
		{"--labels-from-dirs DIR/gone", 1, "DIR/gone: no such file"},
		{"--label a --template {} --html DIR/gone/page.html FACE", 1, "page.html was not written"},
		{"--label a --template {} --sort-into " + file + "/x FACE", 1, "not a directory"},
	} {
		t.Run(c.args, func(t *testing.T) {
			fill := strings.NewReplacer("FACE", face, "DIR", dir)
			code, _, errs := infer(t, "", append([]string{"classify", "--model", tiny}, strings.Fields(fill.Replace(c.args))...)...)
			assert.Equal(t, c.code, code, errs)
			assert.Contains(t, errs, fill.Replace(c.says))
			assert.True(t, strings.HasPrefix(errs, "infer: "), errs)
		})
	}
	code, out, _ := infer(t, "", "classify", "--help")
	assert.Equal(t, 0, code)
	assert.Contains(t, out, "infer classify --labels-from-dirs --html report.html held-out")
}

// TestClassifyInterrupted sends the signal while images are read: nothing is sorted, nothing is
// written.
func TestClassifyInterrupted(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "photos"), 0o755))
	data := readFile(t, testImage("face.png"))
	for i := range 20_000 {
		writeFile(t, filepath.Join(dir, "photos"), strconv.Itoa(i)+".png", data)
	}
	var out, errs bytes.Buffer
	cmd := process("classify", "--model", tiny, "--label", "a", "--label", "b", "--template", "{}", "--sort-into", filepath.Join(dir, "sorted"),
		"--html", filepath.Join(dir, "page.html"), filepath.Join(dir, "photos"))
	cache := filepath.Join(dir, "cache")
	cmd.Env = append(cmd.Env, "GOCLIP_CACHE="+cache)
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { // the classifier is there: images come next
		made, _ := filepath.Glob(filepath.Join(cache, "classifiers", "*.safetensors"))
		return len(made) == 1
	}, time.Minute, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Error(t, cmd.Wait())
	assert.Equal(t, 130, cmd.ProcessState.ExitCode())
	assert.Equal(t, "infer: interrupted; nothing was written", oneLine(t, errs.String()))
	assert.Empty(t, out.String())
	assert.ElementsMatch(t, []string{"photos", "cache"}, names(t, dir))
}
