package goclip_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train"
)

// readme is the Go code of README.md.
func readme(ctx context.Context, photos train.Dataset) error {
	model, err := clip.Open(ctx, "ViT-B-32:openai", nil) // a name, a directory, a file, hf-hub:org/name
	if err != nil {
		return err
	}
	images := []clip.ImageSource{clip.FromFile("dog.jpg")}
	scores, err := model.Score(ctx, images, []string{"a dog", "a cat"})
	if err != nil {
		return err
	}
	fmt.Println(scores.Prob[0])                                        // the probability of each text
	trainer, err := train.New(model, photos, &train.Config{Epochs: 3}) // photos has Len and Sample
	if err != nil {
		return err
	}
	return errors.Join(trainer.Run(ctx), model.Save("tuned"))
}

// TestReadme holds the Go code of both READMEs against readme, which is compiled, and their
// sections, commands and tables against each other.
func TestReadme(t *testing.T) {
	_ = readme
	source, err := os.ReadFile("readme_test.go")
	require.NoError(t, err)
	_, body, _ := strings.Cut(string(source), "func readme(ctx context.Context, photos train.Dataset) error {\n")
	body, _, ok := strings.Cut(body, "\n}\n")
	require.True(t, ok)
	want := strings.ReplaceAll("\n"+body, "\n\t", "\n")[1:]

	english, err := os.ReadFile("README.md")
	require.NoError(t, err)
	korean, err := os.ReadFile("README.ko.md")
	require.NoError(t, err)
	assert.LessOrEqual(t, strings.Count(string(english), "\n"), 150, "the lines of README.md")
	for name, text := range map[string]string{"README.md": string(english), "README.ko.md": string(korean)} {
		code := regexp.MustCompile("(?s)```go\n(.*?)\n```").FindStringSubmatch(text)
		require.NotNil(t, code, name)
		assert.Equal(t, want, code[1], name)
	}
	assert.Equal(t, skeleton(string(english)), skeleton(string(korean)), "headings, commands and tables of README.md and README.ko.md")
}

// skeleton is what a translation shares with its original: the levels of headings, the commands
// without their comments, and the number of columns of each table's row.
func skeleton(text string) []string {
	var lines []string
	code := false
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			code = !code
		case strings.HasPrefix(line, "#"):
			lines = append(lines, line[:strings.Index(line, " ")])
		case code:
			command, _, _ := strings.Cut(line, " # ")
			lines = append(lines, strings.TrimSpace(command))
		case strings.HasPrefix(line, "|"):
			lines = append(lines, strings.Repeat("|", strings.Count(line, "|")))
		}
	}
	return lines
}
