//go:build browser

package main

import (
	"bufio"
	"bytes"
	"context"
	"image"
	_ "image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// heldOutPage runs scripts/page_demo.sh: the address of its page, what it printed before, and where
// the images are.
func heldOutPage(t *testing.T) (at, said, dir string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir = filepath.Join(t.TempDir(), "held-out")
	cmd := exec.Command(filepath.Join("..", "..", "scripts", "page_demo.sh"), "--addr", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asCommand+"=1", "INFER="+self, "DIR="+dir, "GOCLIP_CACHE="+t.TempDir())
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { err := cmd.Wait(); w.CloseWithError(io.EOF); ended <- err }()
	t.Cleanup(func() { // the script's last command has its process
		_ = cmd.Process.Signal(syscall.SIGTERM)
		go io.Copy(io.Discard, r)
		assert.NoError(t, <-ended)
	})
	lines := bufio.NewReader(r)
	for at == "" {
		line, err := lines.ReadString('\n')
		require.NoError(t, err, said)
		said += line
		at = regexp.MustCompile(`http://127\S+`).FindString(line)
	}
	go io.Copy(io.Discard, lines)
	return at, said, dir
}

// onPage is a headless Chromium on the page, of such a size, light or dark.
func onPage(t *testing.T, at string, width, height int64, scheme string) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("THE PAGE WAS NOT TESTED: there is no Chromium (apt-get install chromium)")
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	chromedp.ListenTarget(ctx, func(event any) {
		if e, ok := event.(*runtime.EventExceptionThrown); ok {
			t.Error(e.ExceptionDetails.Error())
		}
	})
	require.NoError(t, chromedp.Run(ctx,
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		emulation.SetDeviceMetricsOverride(width, height, 1, width < 600),
		chromedp.Navigate(at), chromedp.WaitReady("#model")))
	return ctx
}

// screenshot is of what the window shows; it is kept under GOCLIP_SCREENSHOTS, where that is set.
func screenshot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	var data []byte
	var over float64
	require.NoError(t, chromedp.Run(ctx, chromedp.Evaluate(`scrollTo(0, 0); document.activeElement.blur(); document.documentElement.scrollWidth - innerWidth`, &over),
		chromedp.Sleep(300*time.Millisecond), chromedp.CaptureScreenshot(&data)))
	assert.LessOrEqual(t, over, 0.0, "the page is wider than the window")
	_, _, err := image.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	if dir := os.Getenv("GOCLIP_SCREENSHOTS"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644))
	}
}

// The one command of README.md: the held-out hand's images are classified and searched by words
// in the terminal, and then on its page, on a screen and on a phone, light and dark.
func TestPageHeldOut(t *testing.T) {
	at, said, dir := heldOutPage(t)
	for _, line := range []string{`dog face/dog face\.png +dog 0\.9`, `racing car/racing car\.png +car 1\.0`, `top-1 0\.131\d  top-5 0\.297\d .*1914 classes, 1914 images`,
		`1914 images added`, `(?s)-- racing car\nscore  image\n0\.\d+  \S*/racing car/racing car\.png`} {
		assert.Regexp(t, line, said)
	}
	var names, labels []string
	search := func(words, selector string) chromedp.Action {
		return chromedp.Tasks{chromedp.Click("#tab-search"), chromedp.SendKeys("#query", words+kb.Enter), chromedp.WaitVisible(selector),
			chromedp.Poll(`[...document.querySelectorAll("#hits img")].slice(0, 20).every(i => i.complete && i.naturalWidth > 0)`, nil),
			chromedp.Evaluate(`[...document.querySelectorAll("#hits .path")].map(e => e.textContent)`, &names)}
	}
	for _, c := range []struct {
		width, height int64
		scheme        string
	}{{1000, 760, "light"}, {1000, 760, "dark"}, {390, 800, "light"}, {390, 800, "dark"}} {
		view := map[bool]string{false: "", true: "-phone"}[c.width < 600] + map[string]string{"light": "", "dark": "-dark"}[c.scheme]
		ctx := onPage(t, at, c.width, c.height, c.scheme)
		var ended string
		require.NoError(t, chromedp.Run(ctx, search("racing car", "#hits li"), chromedp.Text("#ended", &ended)))
		assert.Equal(t, "racing car.png", names[0])
		assert.Less(t, len(names), 60)
		assert.Equal(t, "The list ends here: each of the other images shows this with a probability below 5 %.", ended)
		screenshot(t, ctx, "held-out-search"+view)

		var files []string
		for _, name := range []string{"dog face", "racing car", "red apple", "sailboat"} {
			files = append(files, filepath.Join(dir, name, name+".png"))
		}
		require.NoError(t, chromedp.Run(ctx, chromedp.Click("#tab-labels"), chromedp.SetUploadFiles("#files", files), chromedp.WaitVisible("#thumbs li:nth-child(4)"),
			chromedp.SetValue("#names", strings.Join([]string{"dog", "car", "fruit", "house", "ship", "tree"}, "\n")),
			chromedp.Click("#label"), chromedp.WaitVisible("#shares article:nth-child(4)"),
			chromedp.Evaluate(`[...document.querySelectorAll("#shares li:first-child span:first-child")].map(e => e.textContent)`, &labels)))
		assert.Equal(t, []string{"dog", "car", "fruit", "ship"}, labels)
		if c.width < 600 { // beyond the images and the words, which fill a phone's window
			require.NoError(t, chromedp.Run(ctx, emulation.SetDeviceMetricsOverride(c.width, 1280, 1, true)))
		} else {
			require.NoError(t, chromedp.Run(ctx, emulation.SetDeviceMetricsOverride(c.width, 900, 1, false)))
		}
		screenshot(t, ctx, "held-out-labels"+view)
		// An image of the held-out hand finds itself.
		require.NoError(t, chromedp.Run(ctx, chromedp.Click("#tab-search"), chromedp.Evaluate(`document.querySelector("#hits").replaceChildren()`, nil), chromedp.WaitVisible("#thumbs li:nth-child(4) .pick"),
			chromedp.Click("#thumbs li:nth-child(4) .pick"), chromedp.WaitVisible("#hits li:nth-child(60)"),
			chromedp.Evaluate(`[...document.querySelectorAll("#hits .path")].map(e => e.textContent)`, &names)))
		assert.Equal(t, "sailboat.png", names[0])
	}
}
