package preprocess

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// film makes a video of a second each of red, green and blue.
func film(t testing.TB, path string, more ...string) {
	if !HasFFmpeg() {
		t.Skip("this machine has no ffmpeg (Debian: apt-get install ffmpeg)")
	}
	args := []string{"-v", "error", "-y"}
	for _, c := range []string{"red", "lime", "blue"} {
		args = append(args, "-f", "lavfi", "-i", "color="+c+":size=64x48:rate=10:duration=1")
	}
	args = append(append(args, "-filter_complex", "[0][1][2]concat=n=3", "-pix_fmt", "yuv420p"), more...)
	out, err := exec.CommandContext(t.Context(), "ffmpeg", append(args, path)...).CombinedOutput()
	require.NoError(t, err, string(out))
}

// TestVideoFrames takes a frame of each second of a film, whose colours tell which it is.
func TestVideoFrames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "#t=1 a film.mkv")
	film(t, path)
	frames, err := VideoFrames(t.Context(), path, 3)
	require.NoError(t, err)
	assert.Equal(t, []string{path + "#t=0.5", path + "#t=1.5", path + "#t=2.5"}, frames)
	for i, frame := range frames {
		video, at, ok := VideoFrame(frame)
		assert.True(t, ok)
		assert.Equal(t, path, video)
		assert.InDelta(t, float64(i)+0.5, at, 0)
		img, err := DecodeFile(t.Context(), frame, DefaultLimits)
		require.NoError(t, err)
		assert.Equal(t, [2]int{64, 48}, [2]int{img.Width, img.Height})
		middle := img.RGB().Pix[3*(24*64+32):]
		for c, v := range []uint8{255 * b2u(i == 0), 255 * b2u(i == 1), 255 * b2u(i == 2)} {
			assert.InDelta(t, v, middle[c], 6, "channel %d of %s", c, frame)
		}
	}
	one, err := VideoFrames(t.Context(), path, 1)
	require.NoError(t, err)
	assert.Equal(t, []string{path + "#t=1.5"}, one)

	_, err = DecodeFile(t.Context(), path+"#t=99", DefaultLimits)
	require.ErrorIs(t, err, ErrTruncated)
	assert.Contains(t, err.Error(), "the video has no frame at 99 seconds")
	_, err = DecodeFile(t.Context(), frames[0], Limits{MaxPixels: 1000})
	require.Error(t, err)
	_, err = DecodeFile(t.Context(), filepath.Join(dir, "gone.mp4#t=1"), DefaultLimits)
	require.ErrorIs(t, err, os.ErrNotExist)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = DecodeFile(ended, frames[0], DefaultLimits)
	require.ErrorIs(t, err, context.Canceled)

	secret := filepath.Join(dir, "secret.mp4")
	film(t, secret)
	playlist := filepath.Join(dir, "list.mp4")
	require.NoError(t, os.WriteFile(playlist, []byte("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n"+secret+"\n#EXT-X-ENDLIST\n"), 0o644))
	_, err = VideoFrames(t.Context(), playlist, 1)
	require.ErrorIs(t, err, ErrCorrupt, "a playlist opens other files")
	assert.NotContains(t, err.Error(), "\n")
	_, err = DecodeFile(t.Context(), playlist+"#t=0", DefaultLimits)
	require.ErrorIs(t, err, ErrCorrupt)
}

func b2u(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func TestNoFrame(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"film.mp4", "x.png#t=1", "film.mp4#t=", "film.mp4#t=-1", "film.mp4#t=NaN", "film.mp4#t=1s"} {
		_, _, ok := VideoFrame(path)
		assert.False(t, ok, path)
	}
	named := filepath.Join(dir, "film.mp4#t=1")
	require.NoError(t, os.WriteFile(named, readGolden(t, "pictures/cup_odd.jpg"), 0o644))
	img, err := DecodeFile(t.Context(), named, DefaultLimits)
	require.NoError(t, err, "a file that has the name is that file")
	assert.Equal(t, decodeGolden(t, "cup_odd.jpg"), img)

	film := filepath.Join(dir, "film.mp4")
	require.NoError(t, os.WriteFile(film, []byte("no film"), 0o644))
	t.Setenv("PATH", dir)
	assert.False(t, HasFFmpeg())
	_, err = VideoFrames(t.Context(), film, 3)
	require.ErrorIs(t, err, ErrNoLibrary)
	assert.Contains(t, err.Error(), "a video is not read; install ffmpeg")
}
