//go:build browser

package serve

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
)

// A found image is judged, by the button and by the key: the order follows, another image is
// proposed, and the answers are saved as a word. The key w shows where the text is.
func TestPageTeach(t *testing.T) {
	_, at := shelved(t)
	ctx, complaints := browser(t, at, 1000, 900, "light")
	var paths, proposed, pressed []string
	var shown, said string
	text := func(selector string, to *[]string) chromedp.Action {
		return chromedp.Evaluate(`[...document.querySelectorAll("`+selector+`")].map(e => e.textContent)`, to)
	}
	titles := func(to *[]string) chromedp.Action {
		return chromedp.Evaluate(`[...document.querySelectorAll("#hits button[aria-pressed=true]")].map(e => e.title)`, to)
	}
	require.NoError(t, chromedp.Run(ctx, chromedp.Click("#tab-search"), chromedp.SendKeys("#query", "a cute dog"+kb.Enter), chromedp.WaitVisible("#hits li:nth-child(2) img"),
		chromedp.Click("#hits li:nth-child(1) .foot button:last-child"), chromedp.Text("#status", &said)))
	assert.Equal(t, "Now mark an image that fits.", said)
	require.NoError(t, chromedp.Run(ctx, chromedp.Click("#hits li:nth-child(2) .foot button"), chromedp.WaitVisible("#open li"),
		text("#hits .path", &paths), text("#open .path", &proposed), titles(&pressed), chromedp.Text("#shown", &shown)))
	assert.Equal(t, []string{"car & co.png", "dog.png"}, paths, "what fits comes first")
	assert.Equal(t, []string{"dog.png"}, proposed)
	assert.Equal(t, []string{"fits (y)", "does not fit (n)"}, pressed)
	assert.Contains(t, shown, "by your 2 answers")
	shot(t, ctx, "serve-teach")

	require.NoError(t, chromedp.Run(ctx, chromedp.SendKeys("#word", "two words"+kb.Enter), chromedp.WaitVisible("#status.bad"), chromedp.Text("#status", &said)))
	assert.Contains(t, said, "a name of two words")
	require.NoError(t, chromedp.Run(ctx, chromedp.SetValue("#word", "ferrari"), chromedp.SendKeys("#word", kb.Enter), chromedp.Poll(`document.querySelector("#status").textContent.startsWith("Saved")`, nil), chromedp.Text("#status", &said)))
	assert.Equal(t, "Saved. Search for ferrari to use it.", said)

	// By the keyboard: the car does not fit after all, and the dog does.
	require.NoError(t, chromedp.Run(ctx, chromedp.Focus("#hits li:nth-child(2) a"), chromedp.KeyEvent("y"), chromedp.Poll(`marked().yes.length === 2 && document.querySelector("#hits .path").textContent === "dog.png"`, nil),
		chromedp.Focus("#hits li:nth-child(2) a"), chromedp.KeyEvent("n"), chromedp.Poll(`document.querySelectorAll("#hits button[aria-pressed=true]")[1]?.title.startsWith("does not")`, nil), text("#hits .path", &paths)))
	assert.Equal(t, []string{"dog.png", "car & co.png"}, paths)

	require.NoError(t, chromedp.Run(ctx, chromedp.KeyEvent("w"), chromedp.WaitVisible("#hits li:nth-child(2) canvas")))
	var share []float64
	require.NoError(t, chromedp.Run(ctx, chromedp.Evaluate(`(() => {
		const c = document.querySelector("#hits canvas"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
		let dark = 0;
		for (let i = 0; i < d.length; i += 4) if (d[i] + d[i+1] + d[i+2] < 300) dark++;
		return [c.width, 4 * dark / d.length];
	})()`, &share)))
	assert.InDelta(t, 256, share[0], 0)
	assert.Greater(t, share[1], 0.1, "a part is dark")
	assert.Less(t, share[1], 0.9, "and a part is not")
	shot(t, ctx, "serve-where")
	require.NoError(t, chromedp.Run(ctx, chromedp.Focus("#tab-search"), chromedp.KeyEvent("w"), chromedp.WaitNotPresent("canvas.overlay")))

	// A new query begins without answers.
	require.NoError(t, chromedp.Run(ctx, chromedp.SetValue("#query", "a car"), chromedp.SendKeys("#query", kb.Enter), chromedp.WaitNotVisible("#teach"), titles(&pressed)))
	assert.Empty(t, pressed)
	assert.Subset(t, []string{"Failed to load resource: the server responded with a status of 400 (Bad Request)"}, *complaints)
}

// Where a text is on the images that are compared, on a phone.
func TestPageWhere(t *testing.T) {
	_, at := start(t, Options{})
	ctx, complaints := browser(t, at, 390, 800, "dark")
	require.NoError(t, chromedp.Run(ctx, chromedp.SetUploadFiles("#files", demoImages(t)), chromedp.WaitVisible("tbody tr:nth-child(2) td.best"),
		chromedp.Click("#where-key"), chromedp.WaitVisible("tbody tr:nth-child(2) th canvas"), chromedp.WaitVisible("tbody tr:nth-child(1) th canvas")))
	var titles []string
	require.NoError(t, chromedp.Run(ctx, chromedp.Evaluate(`[...document.querySelectorAll("canvas.overlay")].map(c => c.title)`, &titles)))
	assert.ElementsMatch(t, []string{"where: a cute dog", "where: a fast car"}, titles, "of each image its best text")
	noSideways(t, ctx)
	shot(t, ctx, "serve-where-phone")
	assert.Empty(t, *complaints)
}

// A search by words shows how probable each hit is, and the list ends where no other image is
// probable enough; a search by an image has no probabilities.
func TestPageProbability(t *testing.T) {
	images, at := shelved(t)
	ctx, complaints := browser(t, at, 1000, 900, "light")
	var scores []string
	var ended string
	list := func(n int) chromedp.Action {
		return chromedp.Poll(`document.querySelectorAll("#hits li").length === `+strconv.Itoa(n)+` && $("status").textContent === ""`, nil)
	}
	least := func(value string) chromedp.Action {
		return chromedp.Evaluate(`$("least").value = "`+value+`"; $("least").dispatchEvent(new Event("change"))`, nil)
	}
	read := chromedp.Evaluate(`[...document.querySelectorAll("#hits .score")].map(e => e.textContent)`, &scores)
	says := chromedp.Evaluate(`$("ended").textContent`, &ended)
	ask := func(query string) chromedp.Action {
		return chromedp.Tasks{chromedp.SetValue("#query", query), chromedp.SendKeys("#query", kb.Enter)}
	}
	dog := knownTexts(t, "a cute dog")[0]
	var want []string
	for _, row := range images { // the shelf's probability is the cosine
		cosine := clip.Cosine(dog, row)
		want = append(want, fmt.Sprintf("%.3f · %.0f\u00a0%%", cosine, 100*cosine))
	}
	require.NoError(t, chromedp.Run(ctx, chromedp.Click("#tab-search"), ask("a cute dog"), list(2), least("0.01"), list(2), read, says))
	assert.Equal(t, want, scores)
	assert.Empty(t, ended)
	require.NoError(t, chromedp.Run(ctx, least("0.5"), list(1), read, says))
	assert.Equal(t, want[:1], scores)
	assert.Equal(t, "The list ends here: each of the other images shows this with a probability below 50 %.", ended)
	shot(t, ctx, "serve-probability")
	require.NoError(t, chromedp.Run(ctx, chromedp.Click("#more"), list(2), read, says))
	assert.Equal(t, want, scores)
	assert.Empty(t, ended)
	require.NoError(t, chromedp.Run(ctx, ask("a bunch of grapes"), list(0), says, chromedp.WaitVisible("#more")))
	assert.Regexp(t, `^Nothing found: no image shows this with a probability of 50 % or more. The most probable has \d+\x{00a0}%.$`, ended)
	shot(t, ctx, "serve-nothing")

	require.NoError(t, chromedp.Run(ctx, chromedp.SetUploadFiles("#files", demoImages(t)[:1]), chromedp.WaitVisible("#thumbs .pick"), chromedp.Poll(`images[0].row !== undefined`, nil),
		chromedp.Click("#thumbs .pick"), list(2), read, chromedp.WaitNotVisible("#end")))
	assert.Equal(t, "1.000", scores[0])
	assert.NotContains(t, scores[1], "%")
	assert.Empty(t, *complaints)
}
