package main

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal: what is written to slave is read from the other end.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestTerminalDrawing(t *testing.T) {
	_, slave := terminal(t)
	small := image.NewNRGBA(image.Rect(0, 0, 2, 2)) // red and what shows through, blue and black
	copy(small.Pix, []uint8{255, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 255})
	for _, c := range []struct{ env, want string }{
		{"TERM=xterm-kitty", "\x1b_G"},
		{"TERM=xterm-ghostty", "\x1b_G"},
		{"TERM=xterm-256color KITTY_WINDOW_ID=1", "\x1b_G"},
		{"TERM=xterm-256color KONSOLE_VERSION=230800", "\x1b_G"},
		{"TERM=xterm-256color TERM_PROGRAM=iTerm.app", "\x1b]1337;"},
		{"TERM=xterm-256color TERM_PROGRAM=WezTerm", "\x1b]1337;"},
		{"TERM=xterm-256color LC_TERMINAL=iTerm2", "\x1b]1337;"},
		{"TERM=xterm-256color", "\x1b[38;5;196m\x1b[48;5;21m▀\x1b[38;5;231m\x1b[48;5;16m▀\x1b[0m\n"},
		{"TERM=xterm-256color COLORTERM=truecolor", "\x1b[38;2;255;0;0m\x1b[48;2;0;0;255m▀\x1b[38;2;255;255;255m\x1b[48;2;0;0;0m▀\x1b[0m\n"},
		{"", "\x1b[38;5;196m"},
		{"TERM=tmux-256color KITTY_WINDOW_ID=1", "\x1b[38;5;"},
		{"TERM=xterm-kitty TMUX=/tmp/tmux COLORTERM=24bit", "\x1b[38;2;"},
		{"TERM=dumb", "has no colours"},
		{"TERM=xterm-kitty NO_COLOR=1", "has no colours"},
	} {
		env := func(name string) string {
			for _, pair := range strings.Fields(c.env) {
				if value, ok := strings.CutPrefix(pair, name+"="); ok {
					return value
				}
			}
			return ""
		}
		draw, err := terminalDrawing(slave, env)
		if err != nil {
			assert.ErrorContains(t, err, c.want, c.env)
			continue
		}
		var b bytes.Buffer
		require.NoError(t, draw(&b, small))
		assert.True(t, strings.HasPrefix(b.String(), c.want), "%s: %q", c.env, b.String())
	}
	_, err := terminalDrawing(&bytes.Buffer{}, func(string) string { return "xterm-kitty" })
	assert.ErrorContains(t, err, "the output is not a terminal")
}

// TestDrawKitty puts the pieces together again: each within kitty's bound, all but the last
// announcing more.
func TestDrawKitty(t *testing.T) {
	for _, n := range []int{1, 3071, 3072, 3073, 10_000} {
		data := bytes.Repeat([]byte{7, 1, 0}, n)[:n]
		var b bytes.Buffer
		require.NoError(t, drawKitty(&b, data))
		commands := regexp.MustCompile("\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\\\").FindAllStringSubmatch(b.String(), -1)
		require.Len(t, commands, (base64.StdEncoding.EncodedLen(n)+4095)/4096)
		text := ""
		for i, c := range commands {
			assert.Equal(t, i < len(commands)-1, strings.HasSuffix(c[1], "m=1"))
			assert.Equal(t, i == 0, strings.Contains(c[1], "a=T,f=100"))
			assert.LessOrEqual(t, len(c[2]), 4096)
			text += c[2]
		}
		got, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		assert.Equal(t, data, got)
	}
}

// TestSearchPreview runs the command on a terminal: the image that comes out is the one that was
// found. One that is gone is told of, and the others are shown.
func TestSearchPreview(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"dog.png", "racing_car.png"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), readFile(t, filepath.Join("..", "..", "data", "demo", name)), 0o644))
	}
	code, _, errs := infer(t, "", "index", dir)
	require.Equal(t, 0, code, errs)
	require.NoError(t, os.Remove(filepath.Join(dir, "racing_car.png")))
	for env, pattern := range map[string]string{
		"TERM=xterm-kitty":       "(?s)dog\\.png\r\n\x1b_Ga=T,f=100,q=2,r=8,m=[01];(.*?)\r\n",
		"TERM_PROGRAM=iTerm.app": "(?s)dog\\.png\r\n\x1b\\]1337;File=inline=1;size=\\d+;height=8;preserveAspectRatio=1:(.*?)\a\r\n",
	} {
		master, slave := terminal(t)
		cmd := process("search", "-n", "-p", "-t", "2", "a cute dog", dir)
		cmd.Env = append(cmd.Env, "TERM=xterm", "KITTY_WINDOW_ID=", "KONSOLE_VERSION=", "TMUX=", env)
		var errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = slave, &errs
		require.NoError(t, cmd.Start())
		shown := make(chan []byte)
		require.NoError(t, slave.Close())
		go func() { all, _ := io.ReadAll(master); shown <- all }() // ends with EIO when the command has ended
		require.NoError(t, cmd.Wait(), errs.String())
		out := string(<-shown)
		found := regexp.MustCompile(pattern).FindStringSubmatch(out)
		require.NotNil(t, found, "%.300q", out)
		text := regexp.MustCompile("\x1b\\\\(\x1b_Gm=[01];)?").ReplaceAllString(found[1], "")
		data, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		picture, err := png.Decode(bytes.NewReader(data))
		require.NoError(t, err)
		assert.Equal(t, 256, picture.Bounds().Dx())
		assert.Contains(t, out, "racing_car.png")
		assert.Contains(t, oneLine(t, errs.String()), "racing_car.png")
	}
	code, out, errs := infer(t, "", "search", "-n", "-p", "-t", "1", "a cute dog", dir)
	assert.Equal(t, 0, code)
	assert.Contains(t, out, "dog.png")
	assert.Contains(t, oneLine(t, errs), "the output is not a terminal")
	for _, args := range [][]string{{"-f"}, {"--format", "json"}} {
		code, _, errs := infer(t, "", append([]string{"search", "-p", "a dog", dir}, args...)...)
		assert.Equal(t, 2, code)
		assert.Contains(t, oneLine(t, errs), "--preview goes with the table")
	}
}
