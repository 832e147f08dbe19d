//go:build browser

package serve

import (
	"bytes"
	"context"
	"image"
	_ "image/png"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
)

// browser is a headless Chromium on the page. complaints are what its console and the network say
// against the page.
func browser(t *testing.T, at string, width, height int64, scheme string) (ctx context.Context, complaints *[]string) {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("THE PAGE WAS NOT TESTED: there is no Chromium (apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(int(width), int(height)))
	// chromedp has Chromium killed when the thread ends that starts it, of which it says "context
	// canceled". Threads on which package torch has computed do end.
	goruntime.LockOSThread()
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	complaints = new([]string)
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			*complaints = append(*complaints, e.Entry.Text)
		case *runtime.EventExceptionThrown:
			*complaints = append(*complaints, e.ExceptionDetails.Error())
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; !strings.HasPrefix(u, at) && !strings.HasPrefix(u, "blob:"+at) && !strings.HasPrefix(u, "data:") {
				*complaints = append(*complaints, "the page asks for "+u)
			}
		}
	})
	require.NoError(t, chromedp.Run(ctx, log.Enable(), network.Enable(),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		emulation.SetDeviceMetricsOverride(width, height, 1, width < 600),
		chromedp.Navigate(at), chromedp.WaitReady("#model")))
	return ctx, complaints
}

// shot keeps a picture of the whole page under GOCLIP_SCREENSHOTS, where that is set, and checks
// that it shows something.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	var data []byte
	require.NoError(t, chromedp.Run(ctx, chromedp.Sleep(200*time.Millisecond), chromedp.FullScreenshot(&data, 100)))
	img, _, err := image.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	assert.Greater(t, img.Bounds().Dy(), 300)
	if dir := os.Getenv("GOCLIP_SCREENSHOTS"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644))
	}
}

func demoImages(t *testing.T) []string {
	t.Helper()
	dog, err := filepath.Abs(filepath.Join("..", "data", "demo", "dog.png"))
	require.NoError(t, err)
	return []string{dog, filepath.Join(filepath.Dir(dog), "racing_car.png")}
}

// noSideways checks that the page, tables aside, is not wider than the window.
func noSideways(t *testing.T, ctx context.Context) {
	t.Helper()
	var over float64
	require.NoError(t, chromedp.Run(ctx, chromedp.Evaluate(`document.documentElement.scrollWidth - innerWidth`, &over)))
	assert.LessOrEqual(t, over, 0.0)
}

// Images are chosen, texts typed: the matrix has the shares and the cosines of the API, and the
// best text of each picture is marked.
func TestPageCompare(t *testing.T) {
	_, at := start(t, Options{})
	ctx, complaints := browser(t, at, 1000, 900, "light")
	var head, cells, best []string
	texts := func(selector string, to *[]string) chromedp.Action {
		return chromedp.Evaluate(`[...document.querySelectorAll("`+selector+`")].map(e => e.textContent)`, to)
	}
	require.NoError(t, chromedp.Run(ctx,
		chromedp.SetUploadFiles("#files", demoImages(t)),
		chromedp.WaitVisible("tbody tr:nth-child(2) td.best"),
		texts("thead th", &head), texts("td", &cells), texts("td.best", &best)))
	assert.Equal(t, []string{"Image", "a cute dog", "a fast car", "a smiling face"}, head)
	images, words := knownImages(t, "data/demo/dog.png", "data/demo/racing_car.png"), knownTexts(t, "a cute dog", "a fast car", "a smiling face")
	scale, err := model(t).Scale()
	require.NoError(t, err)
	require.Len(t, cells, 6)
	for i, image := range images {
		var cosines []float64
		for _, w := range words {
			cosines = append(cosines, clip.Cosine(image, w))
		}
		for j, share := range clip.Softmax(cosines, scale) {
			assert.InDelta(t, 100*share, number(t, cells[3*i+j]), 0.06)
		}
	}
	assert.Equal(t, []string{cells[0], cells[4]}, best, "the dog is a dog and the car a car")
	shot(t, ctx, "serve-compare")
	require.NoError(t, chromedp.Run(ctx, chromedp.Click("input[value=cosine]"), chromedp.WaitVisible("td.best"), chromedp.Sleep(300*time.Millisecond), texts("td", &cells)))
	assert.InDelta(t, clip.Cosine(images[0], words[0]), number(t, cells[0]), 0.0006)
	// A text is added, one picture taken away: by the keyboard alone.
	require.NoError(t, chromedp.Run(ctx, chromedp.Focus("#texts"), chromedp.SendKeys("#texts", kb.End+"\na flag"), chromedp.WaitVisible("thead th:nth-child(5)"),
		chromedp.Focus("#thumbs li:first-child .away"), chromedp.KeyEvent(kb.Enter), chromedp.WaitNotPresent("tbody tr:nth-child(2)"), texts("thead th", &head)))
	assert.Contains(t, head, "a flag")
	assert.Empty(t, *complaints)
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(strings.TrimSuffix(s, " %"), 64)
	require.NoError(t, err)
	return x
}

// Labels, by the keyboard through the tabs; dark, on a phone.
func TestPageLabels(t *testing.T) {
	_, at := start(t, Options{})
	ctx, complaints := browser(t, at, 390, 800, "dark")
	var first []string
	var focused string
	require.NoError(t, chromedp.Run(ctx,
		chromedp.SetUploadFiles("#files", demoImages(t)),
		chromedp.WaitVisible("tbody tr:nth-child(2) td.best")))
	noSideways(t, ctx)
	shot(t, ctx, "serve-phone")
	require.NoError(t, chromedp.Run(ctx,
		chromedp.Focus("#tab-compare"), chromedp.KeyEvent(kb.ArrowRight), chromedp.WaitVisible("#labels"),
		chromedp.Evaluate(`document.activeElement.id`, &focused),
		chromedp.Focus("#label"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#shares article:nth-child(2)"),
		chromedp.Evaluate(`[...document.querySelectorAll("#shares li:first-child span:first-child")].map(e => e.textContent)`, &first)))
	assert.Equal(t, "tab-labels", focused)
	assert.Equal(t, []string{"dog", "car"}, first)
	noSideways(t, ctx)
	shot(t, ctx, "serve-labels")
	assert.Empty(t, *complaints)
}

// shelved is the address of a server with an index of the dog and the car, and their rows.
func shelved(t *testing.T) (images [][]float32, at string) {
	t.Helper()
	images = knownImages(t, "data/demo/dog.png", "data/demo/racing_car.png")
	_, at = start(t, Options{Indices: []Indexed{{Index: shelf{images[0], images[1]}}}, Thumbnail: func(_ context.Context, path string, _ func(int64) error) ([]byte, string, error) {
		if path == "photos/dog.png" {
			return dogFile(t), "image/png", nil
		}
		return carFile(t), "image/png", nil
	}})
	return images, at
}

// Search with words and with a picture; without an index the page says so.
func TestPageSearch(t *testing.T) {
	_, at := shelved(t)
	ctx, complaints := browser(t, at, 1000, 800, "light")
	var paths []string
	var drawn bool
	found := chromedp.Evaluate(`[...document.querySelectorAll("#hits .path")].map(e => e.textContent)`, &paths)
	require.NoError(t, chromedp.Run(ctx, chromedp.Click("#tab-search"), chromedp.SendKeys("#query", "a cute dog"+kb.Enter), chromedp.WaitVisible("#hits li:nth-child(2) img"),
		chromedp.Poll(`[...document.querySelectorAll("#hits img")].every(i => i.complete)`, nil), found, chromedp.Evaluate(`[...document.querySelectorAll("#hits img")].every(i => i.naturalWidth > 0)`, &drawn)))
	assert.Equal(t, []string{"dog.png", "car & co.png"}, paths)
	assert.True(t, drawn, "the found pictures are shown")
	require.NoError(t, chromedp.Run(ctx, chromedp.SetUploadFiles("#files", demoImages(t)[1:]), chromedp.WaitVisible("#thumbs .pick"), chromedp.Poll(`images[0].row !== undefined`, nil),
		chromedp.Click("#thumbs .pick"), chromedp.Poll(`document.querySelector("#hits .path").textContent === "car & co.png"`, nil), found))
	assert.Equal(t, []string{"car & co.png", "dog.png"}, paths)
	assert.Empty(t, *complaints)

	_, at = start(t, Options{})
	ctx, complaints = browser(t, at, 1000, 800, "light")
	var said string
	require.NoError(t, chromedp.Run(ctx, chromedp.Click("#tab-search"), chromedp.Text("#status", &said)))
	assert.Contains(t, said, "infer serve --index DIR")
	assert.Empty(t, *complaints)
}

// A browser whose language is Korean shows a Korean page.
func TestPageKorean(t *testing.T) {
	_, at := start(t, Options{})
	ctx, complaints := browser(t, at, 800, 700, "light")
	var language, body, corner string
	require.NoError(t, chromedp.Run(ctx, emulation.SetUserAgentOverride("Chromium").WithAcceptLanguage("ko-KR"), chromedp.Reload(),
		chromedp.SetUploadFiles("#files", demoImages(t)), chromedp.WaitVisible("td.best"),
		chromedp.Evaluate(`document.documentElement.lang`, &language), chromedp.Text("body", &body), chromedp.TextContent("thead th", &corner)))
	assert.Equal(t, "ko", language)
	assert.Contains(t, body, "비교")
	assert.Contains(t, body, "텍스트 사이의 확률")
	assert.NotContains(t, body, "Drop images here")
	assert.Equal(t, "이미지", corner)
	shot(t, ctx, "serve-korean")
	assert.Empty(t, *complaints)
}

// A server with a token asks for it, and a picture that is none is told.
func TestPageToken(t *testing.T) {
	_, at := start(t, Options{Token: "open sesame"})
	ctx, complaints := browser(t, at, 800, 700, "light")
	bad := filepath.Join(t.TempDir(), "none.png")
	require.NoError(t, os.WriteFile(bad, []byte("<script>alert(1)</script> is not an image"), 0o644))
	var said string
	require.NoError(t, chromedp.Run(ctx, chromedp.SetUploadFiles("#files", append(demoImages(t)[:1], bad)),
		chromedp.WaitVisible("#ask-token"), chromedp.SendKeys("#token", "open sesame"+kb.Enter), chromedp.WaitVisible("td.best"), chromedp.WaitVisible("td.error"), chromedp.Sleep(300*time.Millisecond),
		chromedp.Text("td.error", &said)))
	assert.Contains(t, said, "not an image")
	for _, c := range *complaints {
		assert.Contains(t, c, "status of 4", "only the answers 401 and 422 themselves")
	}
}
