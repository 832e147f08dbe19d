package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/goclip/goclip/index"
)

// Pictures in the terminal: kitty's graphics protocol (sw.kovidgoyal.net/kitty/graphics-protocol)
// and iTerm2's inline images (iterm2.com/documentation-images.html). A terminal tells what it is by
// its environment; asking it would mean to read from it, and a pipe may stand there.

// drawing writes an encoded picture in a terminal's protocol.
type drawing func(w io.Writer, png []byte) error

// previewLines is how high a picture is shown, in lines of text.
const previewLines = 8

// terminalDrawing is what the terminal understands, or why it shows no pictures.
func terminalDrawing(out io.Writer, env func(string) string) (drawing, error) {
	if f, ok := out.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, fmt.Errorf("--preview: the output is no terminal, and pictures are not shown")
	}
	name, program := env("TERM"), env("TERM_PROGRAM")
	switch {
	case env("TMUX") != "" || strings.HasPrefix(name, "screen") || strings.HasPrefix(name, "tmux"):
		return nil, fmt.Errorf("--preview: tmux and screen do not pass pictures on, and none are shown")
	case strings.Contains(name, "kitty"), strings.Contains(name, "ghostty"), env("KITTY_WINDOW_ID") != "", env("KONSOLE_VERSION") != "":
		return drawKitty, nil
	case program == "iTerm.app", program == "WezTerm", env("LC_TERMINAL") == "iTerm2":
		return drawITerm, nil
	}
	return nil, fmt.Errorf("--preview: the terminal (TERM=%.40q) is not known to show pictures; kitty, Ghostty, Konsole, iTerm2 and WezTerm are", name)
}

// drawKitty transmits and shows a PNG, in pieces of at most 4,096 characters, and asks for no
// answer.
func drawKitty(w io.Writer, png []byte) error {
	const most = 4096
	text := base64.StdEncoding.EncodeToString(png)
	control := fmt.Sprintf("a=T,f=100,q=2,r=%d,", previewLines)
	for {
		piece := text[:min(most, len(text))]
		text = text[len(piece):]
		more := 0
		if text != "" {
			more = 1
		}
		if _, err := fmt.Fprintf(w, "\x1b_G%sm=%d;%s\x1b\\", control, more, piece); err != nil {
			return err
		}
		if control = ""; more == 0 {
			_, err := fmt.Fprintln(w)
			return err
		}
	}
}

func drawITerm(w io.Writer, png []byte) error {
	_, err := fmt.Fprintf(w, "\x1b]1337;File=inline=1;size=%d;height=%d;preserveAspectRatio=1:%s\a\n", len(png), previewLines, base64.StdEncoding.EncodeToString(png))
	return err
}

// printPreviews prints a line for each picture, as the table has it, and the picture below it.
func printPreviews(w, errs io.Writer, draw drawing, groups [][]index.Hit) error {
	for i, hits := range groups {
		if i > 0 {
			fmt.Fprintln(w)
		}
		for _, h := range hits {
			if _, err := fmt.Fprintf(w, "%.3f  %s\n", h.Score, h.Path); err != nil {
				return err
			}
			data, err := thumbnailPNG(h.Path)
			if err != nil { // it was removed, or changed, since it was indexed
				fmt.Fprintln(errs, message(err))
			} else if err := draw(w, data); err != nil {
				return err
			}
		}
	}
	return nil
}
