package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is a bar on a terminal, with rate, time to go and the count of bad images; elsewhere a
// line every ten seconds.
type progress struct {
	errs          io.Writer
	unit          string // images
	bar           *progressbar.ProgressBar
	n, bad, total int
	began, last   time.Time
}

func newProgress(errs io.Writer, unit string, total int) *progress {
	p := &progress{errs: errs, unit: unit, total: total, began: time.Now(), last: time.Now()}
	if f, ok := errs.(*os.File); ok && total > 0 && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(errs), progressbar.OptionSetWidth(30), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
		p.bar.StartWithoutRender() // else its first rate is of the instant in which a batch arrives
	}
	return p
}

// expect changes the total, where it is learned on the way.
func (p *progress) expect(total int) {
	p.total = max(total, p.n)
	if p.bar != nil {
		p.bar.ChangeMax(p.total)
	}
}

func (p *progress) add(bad bool) {
	p.n++
	if bad {
		p.bad++
		if p.bar != nil {
			p.bar.Describe(p.unread())
		}
	}
	if p.bar != nil {
		_ = p.bar.Add(1)
	} else if time.Since(p.last) > 10*time.Second {
		p.last = time.Now()
		text := fmt.Sprintf("infer: %d of %d %s", p.n, p.total, p.unit)
		if p.bad > 0 {
			text += ", " + p.unread()
		}
		if rate := p.rate(); rate > 0 {
			left := time.Duration(float64(p.total-p.n) / rate * float64(time.Second))
			text += fmt.Sprintf("; %.0f a second, %v to go", rate, left.Round(time.Second))
		}
		fmt.Fprintln(p.errs, text)
	}
}

func (p *progress) unread() string { return fmt.Sprintf("%d could not be read", p.bad) }

// rate is of all that was done so far, a second.
func (p *progress) rate() float64 { return float64(p.n) / time.Since(p.began).Seconds() }

// line prints a message above the bar.
func (p *progress) line(text string) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintln(p.errs, text)
}

func (p *progress) close() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
