package goclip_test

import (
	"archive/tar"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNewcomer runs the four commands of README.md that lead from a table of images to a model that
// was fine-tuned, evaluated and searched with, on a table of 200 images.
func TestNewcomer(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(readme), "\n## Fine-tune\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	var commands []string
	for line := range strings.Lines(section) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ bin/"); ok {
			commands = append(commands, command)
		}
	}
	require.Len(t, commands, 4)

	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin")+"/", "./cmd/train", "./cmd/infer")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	rows := table(t, dir, 200)
	last := rows[len(rows)-1] // a file and its caption
	require.Contains(t, commands[3], `"my dog Rex on the sofa"`)
	commands[3] = strings.Replace(commands[3], "my dog Rex on the sofa", last[1], 1)
	says := make([]string, 4)
	for i, command := range commands {
		run := exec.Command("bash", "-c", "bin/"+command)
		run.Dir = dir
		run.Env = append(os.Environ(), "GOCLIP_CACHE="+filepath.Join(dir, "cache"), "GOCLIP_MODEL=", "COLUMNS=160")
		out, err := run.CombinedOutput()
		require.NoError(t, err, "%s\n%s", command, out)
		says[i] = string(out)
	}
	assert.Contains(t, says[0], "emoji-64: the trained weights that goclip ships")
	assert.Contains(t, says[0], "30 steps in ")
	assert.Contains(t, says[1], "text to image R@1")
	found := regexp.MustCompile(`\b[01]\.\d{4}\b`).FindString(says[1])
	recall, err := strconv.ParseFloat(found, 64)
	require.NoError(t, err, says[1])
	assert.Greater(t, recall, 0.2, "chance is 0.005\n%s", says[1])
	assert.Contains(t, says[3], filepath.Base(last[0]), "an image is found by its caption")
}

// table writes photos.csv and the images it names, of the emoji that the built-in model has not seen.
func table(t *testing.T, dir string, n int) (rows [][]string) {
	t.Helper()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "photos"), 0o755))
	shard, err := os.Open(filepath.Join("data", "openmoji-eval-00000.tar"))
	require.NoError(t, err)
	defer shard.Close()
	rows = [][]string{{"filepath", "title"}}
	image := ""
	for members := tar.NewReader(shard); len(rows) <= n; {
		member, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		content, err := io.ReadAll(members)
		require.NoError(t, err)
		switch name := path.Base(member.Name); path.Ext(name) {
		case ".png":
			image = "photos/" + name
			require.NoError(t, os.WriteFile(filepath.Join(dir, image), content, 0o644))
		case ".txt":
			require.Equal(t, strings.TrimSuffix(path.Base(image), ".png"), strings.TrimSuffix(name, ".txt"))
			rows = append(rows, []string{image, strings.TrimSpace(string(content))})
		}
	}
	require.Len(t, rows, n+1)
	file, err := os.Create(filepath.Join(dir, "photos.csv"))
	require.NoError(t, err)
	require.NoError(t, csv.NewWriter(file).WriteAll(rows))
	require.NoError(t, file.Close())
	return rows
}
