//go:build docs

package goclip_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDocs runs the commands of README.md and docs/ and compares what they print.
//
// A block ```console is a terminal: a line "$ command" is run by bash, the lines behind it are its
// output. In them "..." stands for any text, and a line of only "..." for any lines; a command
// without lines may print what it likes. A command that ends with "&" is a server: it is kept
// until the end of the page, and the next command waits until it listens. Every command must end
// with status 0, unless "# status 1" ends its line.
//
// A block ```sh is not run, and the comment before it says why: <!-- not run: needs Docker -->.
// A command that is merely indented would not be run, so it is a failure.
//
// Each page starts in a directory of its own, with bin/, data/ and testdata/ of the repository and
// the files of docsFiles.
func TestDocs(t *testing.T) {
	root, err := os.Getwd()
	require.NoError(t, err)
	pages := []string{"README.md"}
	require.NoError(t, filepath.WalkDir("docs", func(name string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".md") {
			pages = append(pages, name)
		}
		return err
	}))
	for _, page := range pages {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(page)
			require.NoError(t, err)
			var s *session
			for i, line := range strings.Split(string(text), "\n") {
				assert.NotRegexp(t, indentedCommand, line, "%s:%d: put the command into a block", page, i+1)
			}
			for _, b := range blocksIn(string(text)) {
				switch b.language {
				case "":
					assert.Fail(t, "a block without a language", "%s:%d: write console, sh or text", page, b.line)
				case "sh":
					assert.Regexp(t, `^<!-- not run: .+ -->$`, b.before, "%s:%d: a block that is not run must say why", page, b.line)
				case "console":
					if s == nil {
						s = newSession(t, root)
					}
					s.play(page, b)
				}
			}
		})
	}
}

var indentedCommand = regexp.MustCompile(`^    (\$ |(bin/|scripts/)?(infer|train|make|go|curl|docker|torchrun|srun|find|tar) )`)

// block is a fenced block of a page; before is the last line before it that is not empty.
type block struct {
	language, before string
	line             int
	lines            []string
}

func blocksIn(text string) []block {
	var blocks []block
	var current *block
	before := ""
	for i, line := range strings.Split(text, "\n") {
		switch {
		case current == nil && strings.HasPrefix(line, "```"):
			current = &block{language: strings.TrimPrefix(line, "```"), before: before, line: i + 1}
		case current != nil && line == "```":
			blocks = append(blocks, *current)
			current = nil
		case current != nil:
			current.lines = append(current.lines, line)
		case strings.TrimSpace(line) != "":
			before = line
		}
	}
	return blocks
}

// session is the terminal of one page.
type session struct {
	t   *testing.T
	dir string
	env []string
}

func newSession(t *testing.T, root string) *session {
	s := &session{t: t, dir: t.TempDir()}
	docsFiles(t, root, s.dir)
	s.env = append(os.Environ(), "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"), "HOME="+filepath.Join(s.dir, ".home"),
		"XDG_CACHE_HOME=", "GOCLIP_CACHE="+filepath.Join(s.dir, ".cache"), "GOCLIP_MODEL=", "NO_COLOR=1", "COLUMNS=100")
	return s
}

var status = regexp.MustCompile(` +# status (\d+)$`)

// play runs the commands of a block.
func (s *session) play(page string, b block) {
	for i := 0; i < len(b.lines); {
		line := b.lines[i]
		at := fmt.Sprintf("%s:%d: %s", page, b.line+1+i, line)
		command, ok := strings.CutPrefix(line, "$ ")
		require.True(s.t, ok, "%s: a block begins with a command", at)
		for i++; strings.HasSuffix(command, `\`) && i < len(b.lines); i++ {
			command += "\n" + b.lines[i]
		}
		var want []string
		for ; i < len(b.lines) && !strings.HasPrefix(b.lines[i], "$ "); i++ {
			want = append(want, b.lines[i])
		}
		code := "0"
		if m := status.FindStringSubmatch(command); m != nil {
			code = m[1]
		}
		if server, ok := strings.CutSuffix(command, " &"); ok {
			s.serve(at, server)
			continue
		}
		got, status := s.run(command)
		require.Equal(s.t, code, fmt.Sprint(status), "%s\n%s", at, got)
		if len(want) > 0 {
			assert.Regexp(s.t, pattern(want), got, at)
		}
	}
}

func (s *session) command(text string) *exec.Cmd {
	c := exec.Command("bash", "-c", text)
	c.Dir, c.Env = s.dir, s.env
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c
}

func (s *session) run(text string) (output string, status int) {
	out, err := s.command(text).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	require.NoError(s.t, err)
	return string(out), 0
}

// serve starts a server and waits until it says where it listens.
func (s *session) serve(at, text string) {
	log, err := os.CreateTemp(s.t.TempDir(), "log")
	require.NoError(s.t, err)
	c := s.command(text)
	c.Stdout, c.Stderr = log, log
	require.NoError(s.t, c.Start())
	s.t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGTERM)
		_ = c.Wait()
	})
	require.Eventually(s.t, func() bool {
		out, err := os.ReadFile(log.Name())
		return err == nil && bytes.Contains(out, []byte("http://"))
	}, 2*time.Minute, 50*time.Millisecond, at)
}

// pattern is the regular expression of what lines of documentation stand for.
func pattern(lines []string) string {
	var b strings.Builder
	b.WriteString(`^`)
	for _, line := range lines {
		if strings.TrimSpace(line) == "..." {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		parts := strings.Split(line, "...")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		b.WriteString(strings.Join(parts, `.*`) + `[ ]*\n`)
	}
	return b.String() + `\s*$`
}

// docsFiles writes what the pages' commands work on: photos/ (images of emoji, named by their
// captions), photos.csv and held-out.csv (200 and 39 of them with their captions), dog.png, car.png,
// labels.txt, and mixed/ (mixedFiles).
func docsFiles(t *testing.T, root, dir string) {
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "photos"), 0o755))
	for _, name := range []string{"bin", "data", "testdata"} {
		require.NoError(t, os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)))
	}
	for from, to := range map[string]string{"dog.png": "dog.png", "racing_car.png": "car.png"} {
		bytes, err := os.ReadFile(filepath.Join(root, "data", "demo", from))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, to), bytes, 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "labels.txt"), []byte("dog face\nracing car\n"), 0o644))
	mixedFiles(t, filepath.Join(root, "testdata", "preprocess"), filepath.Join(dir, "mixed"))
	tables := map[string][][]string{"photos.csv": {{"filepath", "title"}}, "held-out.csv": {{"filepath", "title"}}}
	for i, sample := range everyFourth(t, filepath.Join(root, "data", "openmoji-eval-00000.tar")) {
		name := filepath.Join("photos", strings.NewReplacer(" ", "_", "/", "_").Replace(sample.text)+".png")
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), sample.image, 0o644))
		table := "photos.csv"
		if i%6 == 5 {
			table = "held-out.csv"
		}
		tables[table] = append(tables[table], []string{name, sample.text})
	}
	for name, rows := range tables {
		file, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, csv.NewWriter(file).WriteAll(rows))
		require.NoError(t, file.Close())
	}
}

// mixedFiles is a folder as people have it: an image of each format, what is none, and what is
// broken.
func mixedFiles(t *testing.T, from, dir string) {
	require.NoError(t, os.MkdirAll(dir, 0o755))
	write := func(name string, content []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	for name, picture := range map[string]string{"cat.jpg": "cat_progressive.jpg", "lying.jpg": "orientation6.jpg", "face.png": "face.png",
		"cat.webp": "cat_lossy.webp", "face.gif": "face.gif", "grey.bmp": "grey.bmp", "fax.tif": "bit.tif"} {
		content, err := os.ReadFile(filepath.Join(from, "pictures", picture))
		require.NoError(t, err)
		write(name, content)
	}
	preview, err := os.ReadFile(filepath.Join(from, "pictures", "cup_444.jpg"))
	require.NoError(t, err)
	raw := binary.BigEndian.AppendUint32(append([]byte("FUJIFILMCCD-RAW"), make([]byte, 69)...), 92) // where the preview begins
	write("IMG_0002.RAF", append(binary.BigEndian.AppendUint32(raw, uint32(len(preview))), preview...))
	for name, archive := range map[string]string{"face.heic": "heif.zip", "face.avif": "heif.zip", "face.jxl": "jxl.zip", "face.jp2": "jp2.zip"} {
		z, err := zip.OpenReader(filepath.Join(from, archive))
		require.NoError(t, err)
		content, err := fs.ReadFile(z, name)
		require.NoError(t, errors.Join(err, z.Close()))
		write(name, content)
	}
	for _, name := range []string{"layers.psd", "film.mp4", "IMG_0001.CR3", "notes.txt"} {
		write(name, []byte("only the name tells"))
	}
	write("cut.jpg", []byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00"))
	write("fetched.jpg", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"))
	require.NoError(t, os.Symlink("/nowhere/old.png", filepath.Join(dir, "old.png")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe.png"), 0o644))
}

type docsSample struct {
	text  string
	image []byte
}

// everyFourth reads every fourth sample of a shard.
func everyFourth(t *testing.T, shard string) []docsSample {
	file, err := os.Open(shard)
	require.NoError(t, err)
	defer file.Close()
	var samples []docsSample
	images := map[string][]byte{}
	members := tar.NewReader(file)
	for n := 0; ; {
		member, err := members.Next()
		if err == io.EOF {
			return samples
		}
		require.NoError(t, err)
		content, err := io.ReadAll(members)
		require.NoError(t, err)
		key, extension, _ := strings.Cut(path.Base(member.Name), ".")
		if extension == "png" {
			images[key] = content
			continue
		}
		if n++; n%4 == 0 {
			samples = append(samples, docsSample{strings.TrimSpace(string(content)), images[key]})
		}
	}
}
