package ftfy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestFixText holds what was once other than in Python; the values are ftfy 6.3.1's.
func TestFixText(t *testing.T) {
	for text, want := range map[string]string{
		"ÅÅ&#178&#X3b;":                          "ÅÅ&#178&#X3b;", // or the two would make Å&#178;, and that Ų
		"&#59; &#x3b;":                           "&#59; &#x3b;",
		"&semi;":                                 ";",
		"Å&#178;":                                "Ų",
		"a" + strings.Repeat("\u0301", 40) + "b": "á" + strings.Repeat("\u0301", 39) + "b",
	} {
		assert.Equal(t, want, FixText(text), "%+q", text)
	}
}

// TestLongRuns: a run of many marks is ordered and composed as Python's unicodedata.normalize does it.
func TestLongRuns(t *testing.T) {
	const below, above, horn = "\u0323", "\u0301", "\u031b"
	marks := strings.Repeat(above+below, 20)
	for _, c := range []struct{ text, composed, decomposed string }{
		{"e" + marks, "ẹ" + strings.Repeat(below, 19) + strings.Repeat(above, 20), "e" + strings.Repeat(below, 20) + strings.Repeat(above, 20)},
		{"o" + marks + horn + "é", "ợ" + strings.Repeat(below, 19) + strings.Repeat(above, 20) + "é", "o" + horn + strings.Repeat(below, 20) + strings.Repeat(above, 20) + "e" + above},
		{"\u1112\u1161\u11ab" + marks, "한" + strings.Repeat(below, 20) + strings.Repeat(above, 20), "\u1112\u1161\u11ab" + strings.Repeat(below, 20) + strings.Repeat(above, 20)},
		{"a\u034f" + above, "a\u034f" + above, "a\u034f" + above},
	} {
		assert.Equal(t, c.composed, NFC(c.text), "%+q", c.text)
		assert.Equal(t, c.decomposed, NFD(c.text), "%+q", c.text)
	}
}
