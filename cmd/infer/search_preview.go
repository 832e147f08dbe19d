package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"strings"

	"github.com/disintegration/imaging"

	"github.com/goclip/goclip/index"
)

// Images in the terminal: kitty's graphics protocol (sw.kovidgoyal.net/kitty/graphics-protocol),
// iTerm2's inline images (iterm2.com/documentation-images.html), and in any other half blocks of
// colour, two pixels a character. A terminal tells what it is by
// its environment; asking it would mean to read from it, and a pipe may stand there.

// drawing writes a small image for a terminal.
type drawing func(w io.Writer, small *image.NRGBA) error

// previewLines is how high an image is shown, in lines of text.
const previewLines = 8

// terminalDrawing is what the terminal understands, or why it shows no images.
func terminalDrawing(out io.Writer, env func(string) string) (drawing, error) {
	if !onTerminal(out) {
		return nil, fmt.Errorf("--preview: the output is not a terminal, and images are not shown")
	}
	name, program := env("TERM"), env("TERM_PROGRAM")
	within := env("TMUX") != "" || strings.HasPrefix(name, "screen") || strings.HasPrefix(name, "tmux") // they pass no images on
	switch {
	case name == "dumb" || env("NO_COLOR") != "":
		return nil, fmt.Errorf("--preview: the terminal has no colours (TERM=%.40s or NO_COLOR), and images are not shown", name)
	case within:
	case strings.Contains(name, "kitty"), strings.Contains(name, "ghostty"), env("KITTY_WINDOW_ID") != "", env("KONSOLE_VERSION") != "":
		return encoded(drawKitty), nil
	case program == "iTerm.app", program == "WezTerm", env("LC_TERMINAL") == "iTerm2":
		return encoded(drawITerm), nil
	}
	if depth := env("COLORTERM"); depth == "truecolor" || depth == "24bit" {
		return halfBlocks(trueColour), nil
	}
	return halfBlocks(paletteColour), nil
}

// encoded draws the image's PNG.
func encoded(draw func(w io.Writer, png []byte) error) drawing {
	return func(w io.Writer, small *image.NRGBA) error {
		var b bytes.Buffer
		if err := imaging.Encode(&b, small, imaging.PNG, imaging.PNGCompressionLevel(png.BestCompression)); err != nil {
			return err
		}
		return draw(w, b.Bytes())
	}
}

// halfBlocks draws two pixels a character: the upper in the colour of a half block, the lower in that
// of what is behind it. colour gives a pixel's, as the end of a command of the terminal.
func halfBlocks(colour func(c color.NRGBA) string) drawing {
	return func(w io.Writer, small *image.NRGBA) error {
		white := imaging.New(small.Rect.Dx(), small.Rect.Dy(), color.White)
		small = imaging.Fit(imaging.Overlay(white, small, image.Point{}, 1), 4*previewLines, 2*previewLines, imaging.Box)
		var b strings.Builder
		for y := 0; y < small.Rect.Dy(); y += 2 {
			for x := range small.Rect.Dx() {
				fmt.Fprintf(&b, "\x1b[38;%sm", colour(small.NRGBAAt(x, y)))
				if y+1 < small.Rect.Dy() {
					fmt.Fprintf(&b, "\x1b[48;%sm", colour(small.NRGBAAt(x, y+1)))
				}
				b.WriteString("▀")
			}
			b.WriteString("\x1b[0m\n")
		}
		_, err := io.WriteString(w, b.String())
		return err
	}
}

func trueColour(c color.NRGBA) string { return fmt.Sprintf("2;%d;%d;%d", c.R, c.G, c.B) }

// paletteColour is the nearest of the 216 colours of xterm's cube.
func paletteColour(c color.NRGBA) string {
	level := func(v uint8) int { // of 0, 95, 135, 175, 215, 255
		if v < 48 {
			return 0
		}
		return max(1, (int(v)-35)/40)
	}
	return fmt.Sprintf("5;%d", 16+36*level(c.R)+6*level(c.G)+level(c.B))
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

// printPreviews prints a line for each image, as the table has it, and the image below it.
func printPreviews(w, errs io.Writer, draw drawing, groups [][]index.Hit) error {
	for i, hits := range groups {
		if i > 0 {
			fmt.Fprintln(w)
		}
		for _, h := range hits {
			if _, err := fmt.Fprintf(w, "%.3f  %s\n", h.Score, quoted(h.Path)); err != nil {
				return err
			}
			small, _, err := shrink(context.Background(), h.Path, unbounded)
			if err != nil { // it was removed, or changed, since it was indexed
				fmt.Fprintln(errs, message(err))
			} else if err := draw(w, small); err != nil {
				return err
			}
		}
	}
	return nil
}
