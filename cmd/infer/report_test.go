package main

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	rowOf   = regexp.MustCompile(`(?s)<tr>.*?</tr>`)
	dataURL = regexp.MustCompile(`src="data:(image/[a-z]+);base64,([^"]*)"`)
)

// photo is noise as large as a phone's image is, in bytes too.
func photo(t *testing.T, path string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	img := image.NewRGBA(image.Rect(0, 0, 1600, 1200))
	for i := range img.Pix {
		img.Pix[i] = uint8(rng.Uint32())
	}
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, img, nil))
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
}

func TestReport(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	large := filepath.Join(dir, "a<b>&.jpg")
	photo(t, large)
	brief := writeFile(t, dir, "brief.png", readFile(t, testImage("face.png")))
	pictures := []string{large, filepath.Join(dir, "gone.png"), testImage("rgb_lzw.tif"), testImage("rgba_tall.png"), testImage("rgb_1x500.png"),
		testImage("palette_trns.png"), testImage("grey_alpha.png"), brief, brief}
	logs := filepath.Join(dir, "logs", "run")
	require.NoError(t, os.MkdirAll(logs, 0o755))
	writeFile(t, logs, "metrics.jsonl", []byte("{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":1.25}\n{\"step\":3,\"lo"))
	writeFile(t, logs, "results.jsonl", []byte("{\"step\":2,\"text_to_image_R@1\":0.5}\n"))
	page := filepath.Join(dir, "page.html")

	report := func(t *testing.T, texts ...string) (code int, html, errs string) {
		args := append([]string{"score", "--model", tiny, "--format", "csv"}, pictures...)
		for _, text := range texts {
			args = append(args, "--text", text)
		}
		_, out, _ := infer(t, "", args...)
		scores := writeFile(t, dir, "scores.csv", []byte(out))
		code, stdout, errs := infer(t, "", "report", "--run", logs+"/", "--scores", scores, "--out", page)
		assert.Empty(t, stdout)
		html = string(readFile(t, page))
		rows := rowOf.FindAllString(html, len(pictures)+1)
		require.Len(t, rows, len(pictures)+1)
		for i, row := range rows {
			cells := strings.Count(row, "<td") + strings.Count(row, "<th")
			if i == 2 {
				assert.Contains(t, row, "no such file")
				cells += len(texts) - 1 // one cell spans them
			}
			assert.Equal(t, len(texts)+1, cells, row[:min(len(row), 200)])
		}
		return code, html, errs
	}

	for _, texts := range [][]string{{"a dog", "<script>alert(1)</script>"}, {"one text"}} {
		code, html, errs := report(t, texts...)
		assert.Equal(t, 0, code, errs)
		assert.Empty(t, errs)
		assert.NotContains(t, html, "<script>")
		assert.NotContains(t, html, "a<b>")
		assert.Contains(t, html, "2 steps, from 2.500 to 1.250.")
		images := dataURL.FindAllStringSubmatch(html, -1)
		require.Len(t, images, len(pictures)-1)
		for _, found := range images {
			data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(found[2], "&#43;", "+"))
			require.NoError(t, err)
			img, format, err := image.Decode(bytes.NewReader(data))
			require.NoError(t, err)
			assert.Equal(t, "image/"+format, found[1])
			assert.LessOrEqual(t, max(img.Bounds().Dx(), img.Bounds().Dy()), 256)
		}
		assert.Equal(t, "image/jpeg", images[0][1])
		assert.Less(t, len(images[0][2]), 200_000)
	}

	require.NoError(t, os.Rename(brief, brief+".moved"))
	code, _, errs := infer(t, "", "report", "--run", logs, "--scores", filepath.Join(dir, "scores.csv"), "--out", page)
	assert.Equal(t, 1, code)
	assert.Equal(t, 2, strings.Count(errs, "brief.png: no such file"))
	assert.Len(t, dataURL.FindAllString(string(readFile(t, page)), -1), len(pictures)-3, "the page is there with the rest")

	for _, c := range []struct{ name, text, says string }{
		{"table.csv", "image  a dog\nx.png  1.000\n", "not what score --format csv prints"},
		{"number.csv", "path,text,cosine,prob,error\nx.png,a,0.1,high,\n", "not what score --format csv prints"},
		{"uneven.csv", "path,text,cosine,prob,error\nx.png,a,0.1,0.5,\nx.png,b,0.1,0.5,\ny.png,a,0.1,1,\n", "not what score --format csv prints"},
		{"empty.csv", "", "not what score --format csv prints"},
	} {
		code, _, errs := infer(t, "", "report", "--run", logs, "--scores", writeFile(t, dir, c.name, []byte(c.text)), "--out", filepath.Join(dir, "no.html"))
		assert.Equal(t, 1, code)
		assert.Contains(t, oneLine(t, errs), c.name+": it is "+c.says)
	}
	code, _, errs = infer(t, "", "report", "--run", dir, "--scores", filepath.Join(dir, "scores.csv"), "--out", filepath.Join(dir, "no.html"))
	assert.Equal(t, 1, code)
	assert.Contains(t, oneLine(t, errs), "has no step yet")
	assert.NoFileExists(t, filepath.Join(dir, "no.html"))
}

// TestThumbnailKeepsColours compares a few pixels of images that need no shrinking.
func TestThumbnailKeepsColours(t *testing.T) {
	for _, name := range []string{"rgb_63x64.png", "rgba_64x90.png", "palette4.png", "grey.png"} {
		want, _, err := image.Decode(bytes.NewReader(readFile(t, testImage(name))))
		require.NoError(t, err)
		data, kind, err := thumbnail(t.Context(), testImage(name), unbounded)
		require.NoError(t, err)
		assert.Equal(t, "image/png", kind)
		got, _, err := image.Decode(bytes.NewReader(data))
		require.NoError(t, err)
		require.Equal(t, want.Bounds(), got.Bounds())
		for i := range 50 {
			x, y := i*7%want.Bounds().Dx(), i*11%want.Bounds().Dy()
			assert.Equal(t, color.NRGBAModel.Convert(want.At(x, y)), color.NRGBAModel.Convert(got.At(x, y)), "%s %d %d", name, x, y)
		}
	}
}
