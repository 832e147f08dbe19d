package serve

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPageSentences holds the page to having every one of its sentences in Korean, with the same
// number of values, and no other.
func TestPageSentences(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile("page/" + name)
		require.NoError(t, err)
		return string(text)
	}
	all := func(text, pattern string) (found []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			if s := strings.TrimSpace(m[1]); s != "" {
				found = append(found, s)
			}
		}
		return found
	}
	html := regexp.MustCompile(`(?s)<textarea.*?</textarea>|<datalist.*?</datalist>`).ReplaceAllString(read("index.html"), "")
	english := slices.Concat(all(html, `>([^<>]*[A-Za-z]{2}[^<>]*)<`), all(html, `(?:aria-label|placeholder)="([^"]+)"`),
		all(read("page.js")+read("where.js"), `translate\("([^"]+)"`))
	english = slices.DeleteFunc(english, func(s string) bool { return s == "goclip" })
	var translated []string
	for _, m := range regexp.MustCompile(`(?m)^  "(.+)": "(.+)",$`).FindAllStringSubmatch(read("korean.js"), -1) {
		translated = append(translated, m[1])
		assert.Equal(t, strings.Count(m[1], "{}"), strings.Count(m[2], "{}"), m[1])
	}
	slices.Sort(english)
	slices.Sort(translated)
	assert.Equal(t, slices.Compact(english), translated)
}
