package pretrained

import (
	"fmt"
	"io"
	"time"
)

// Lines are options for a command: what happens is written to w in lines that begin with prefix, and a
// download's progress in one every few seconds and at its end.
func Lines(w io.Writer, prefix string) Options {
	var last time.Time
	return Options{
		Log: func(message string) { fmt.Fprintf(w, "%s%s\n", prefix, message) },
		Progress: func(p Progress) {
			if p.Done != p.Total && time.Since(last) < 5*time.Second {
				return
			}
			last = time.Now()
			of := ""
			if p.Total >= 0 {
				of = fmt.Sprintf(" of %d", p.Total>>20)
			}
			fmt.Fprintf(w, "%s%s from %s: %d%s MiB\n", prefix, p.File, p.Host, p.Done>>20, of)
		},
	}
}
