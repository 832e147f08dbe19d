package preprocess

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A frame of a video is read like a file whose path is the video's and a fragment with the time in
// seconds, film.mp4#t=12.5, as W3C's Media Fragments have it. The machine's ffmpeg decodes it.

// frameTime bounds the seeking and decoding of one frame.
const frameTime = time.Minute

// videoFormats are the demuxers of ffmpeg that are let near a file: none that opens others, as
// playlists do.
const videoFormats = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegts,mpegvideo,ogg,asf"

// HasFFmpeg reports whether ffmpeg and ffprobe are on the machine, which read frames of videos.
func HasFFmpeg() bool {
	for _, program := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	return true
}

// VideoFrame parts the path of a frame into the video's and the time in seconds. ok is false where
// it is no such path, or where a file has that name.
func VideoFrame(path string) (video string, at float64, ok bool) {
	i := strings.LastIndex(path, "#t=")
	if i < 0 || extensions[strings.ToLower(filepath.Ext(path[:i]))].kind != "video" {
		return "", 0, false
	}
	at, err := strconv.ParseFloat(path[i+len("#t="):], 64)
	if err != nil || !(at >= 0 && at < 1e7) {
		return "", 0, false
	}
	_, err = os.Lstat(path)
	return path[:i], at, err != nil
}

// VideoFrames are the paths of at most n frames of a video, in the middle of n equal parts of it.
func VideoFrames(ctx context.Context, video string, n int) ([]string, error) {
	text, err := ffmpeg(ctx, video, "ffprobe", DefaultLimits, "-show_entries", "format=duration", "-of", "csv=p=0", "-i")
	if err != nil {
		return nil, err
	}
	length, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil || !(length > 0) { // N/A: a stream that does not tell
		return []string{video + "#t=0"}, nil
	}
	var frames []string
	for i := range n {
		at := strconv.FormatFloat(length*(float64(i)+0.5)/float64(n), 'f', 2, 64)
		frame := video + "#t=" + strings.TrimSuffix(strings.TrimRight(at, "0"), ".")
		if len(frames) == 0 || frames[len(frames)-1] != frame {
			frames = append(frames, frame)
		}
	}
	return frames, nil
}

// readFrame gives a frame as a BMP file.
func readFrame(ctx context.Context, video string, at float64, lim Limits) ([]byte, error) {
	data, err := ffmpeg(ctx, video, "ffmpeg", lim, "-nostdin", "-threads", "1", "-ss", strconv.FormatFloat(at, 'f', -1, 64), "-i",
		"-an", "-sn", "-dn", "-frames:v", "1", "-threads", "1", "-pix_fmt", "bgr24", "-c:v", "bmp", "-f", "image2pipe", "-")
	if err == nil && len(data) == 0 {
		err = &Error{Path: video, Kind: ErrTruncated, Detail: fmt.Sprintf("the video has no frame at %g seconds", at)}
	}
	return data, err
}

// ffmpeg runs a program of ffmpeg's on a video, which stands after the argument -i, and gives what it
// prints.
func ffmpeg(ctx context.Context, video, program string, lim Limits, args ...string) ([]byte, error) {
	f, _, err := OpenRegular(video)
	if err != nil {
		return nil, unnamed(err, video)
	}
	f.Close()
	if _, err := exec.LookPath(program); err != nil {
		return nil, &Error{Path: video, Kind: errors.Join(ErrUnsupported, ErrNoLibrary), Detail: "a video is not read; install ffmpeg (Debian: apt-get install ffmpeg)"}
	}
	abs, err := filepath.Abs(video)
	if err != nil {
		return nil, fmt.Errorf("preprocess: %w", err)
	}
	most := lim.MaxPixels
	if most == 0 {
		most = DefaultLimits.MaxPixels
	}
	all := []string{"-v", "error", "-protocol_whitelist", "file", "-format_whitelist", videoFormats, "-max_pixels", strconv.FormatInt(most, 10)}
	for _, arg := range args {
		if all = append(all, arg); arg == "-i" {
			all = append(all, "file:"+abs)
		}
	}
	timed, cancel := context.WithTimeout(ctx, frameTime)
	defer cancel()
	command := exec.CommandContext(timed, program, all...)
	command.WaitDelay = time.Second
	var said bytes.Buffer
	command.Stderr = &limited{&said, 4096}
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("preprocess: %s: %w", program, err)
	}
	data, err := io.ReadAll(io.LimitReader(out, lim.maxBytes()+1))
	if int64(len(data)) > lim.maxBytes() {
		cancel()
	}
	err = errors.Join(err, command.Wait())
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case int64(len(data)) > lim.maxBytes():
		return nil, named(tooLong(int64(len(data)), lim), video)
	case errors.Is(timed.Err(), context.DeadlineExceeded):
		return nil, &Error{Path: video, Kind: ErrTooLarge, Detail: fmt.Sprintf("%s took longer than %v for one frame", program, frameTime)}
	case err != nil:
		first, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return nil, &Error{Path: video, Kind: ErrCorrupt, Detail: strings.TrimSpace("the video cannot be read: " + printableLine(first, abs))}
	}
	return data, nil
}

// printableLine is what a program said, without the path that the error has anyway.
func printableLine(text, path string) string {
	text = strings.ReplaceAll(text, "file:"+path+": ", "")
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, text)
}

// limited takes what fits and drops the rest.
type limited struct {
	w    *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.w.Write(p[:n])
	return len(p), nil
}
