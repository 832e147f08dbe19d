package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
)

// skipFlags are those of a command that walks directories.
type skipFlags struct {
	Verbose bool `help:"Name each skipped file on stderr."`
}

// framesFlag is that of commands that take videos as well.
type framesFlag struct {
	Frames int `help:"Frames of each video to take, spread over it, by the ffmpeg on this machine; a frame is named film.mp4#t=12.5, by its second. 0 leaves videos out." default:"0"`
}

// maxFrames bounds --frames: beyond it a number is a slip.
const maxFrames = 1 << 16

// check tells once where there is no ffmpeg.
func (f framesFlag) check(errs io.Writer) error {
	if f.Frames < 0 || f.Frames > maxFrames {
		return usageError(fmt.Sprintf("--frames %d: must be between 1 and %d, or 0 for none", f.Frames, maxFrames))
	}
	if f.Frames > 0 && !preprocess.HasFFmpeg() {
		fmt.Fprintln(errs, "infer: --frames: this machine has no ffmpeg (Debian: apt-get install ffmpeg), and videos are left out")
	}
	return nil
}

// skips count the files of a walk that are no images, by their kind.
type skips struct {
	verbose bool
	errs    io.Writer
	kinds   map[string]int

	problems int // files and directories that the system refused
}

// unheard are skips of which another walk will tell.
func unheard() *skips { return &skips{errs: io.Discard} }

// problem tells of what could not be looked at.
func (s *skips) problem(err error) {
	s.problems++
	fmt.Fprintln(s.errs, message(err))
}

func (s *skips) add(path, kind string) {
	if s.kinds == nil {
		s.kinds = map[string]int{}
	}
	s.kinds[kind]++
	if s.verbose {
		fmt.Fprintf(s.errs, "infer: skipped %s: %s\n", quoted(path), kind)
	}
}

// countable are the kinds that have a plural.
var countable = []string{"HTML page", "Git LFS pointer", "broken link", "icon", "special file", "video"}

// text is "3 RAW, 1 video, 2 unreadable", or "" where all was read.
func (s *skips) text(unreadable int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(s.kinds)) {
		switch n := s.kinds[kind]; {
		case slices.Contains(countable, kind):
			parts = append(parts, numberOf(n, kind))
		case kind != "other":
			parts = append(parts, fmt.Sprintf("%d %s", n, kind))
		}
	}
	if n := s.kinds["other"]; n > 0 {
		parts = append(parts, numberOf(n, "other file"))
	}
	if unreadable > 0 {
		parts = append(parts, fmt.Sprintf("%d unreadable", unreadable))
	}
	return strings.Join(parts, ", ")
}

// tell says once what was left out. Other files alone are worth no line.
func (s *skips) tell(unreadable int) {
	if len(s.kinds) == 0 || len(s.kinds) == 1 && s.kinds["other"] > 0 {
		return
	}
	text := "infer: skipped " + s.text(unreadable)
	if !s.verbose {
		text += "; --verbose lists them"
	}
	fmt.Fprintln(s.errs, text)
}
