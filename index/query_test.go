package index

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
)

func TestParseQuery(t *testing.T) {
	words := func(weight float64, text string) Term { return Term{Text: text, Weight: weight} }
	for _, c := range []struct {
		name  string
		words []string
		terms []Term
		rest  []string
	}{
		{"words", []string{"a red car"}, []Term{words(1, "a red car")}, nil},
		{"two terms", []string{"horse + stripes"}, []Term{words(1, "horse"), words(1, "stripes")}, nil},
		{"rclip's example", []string{`"2:golden retriever" + ./pool.jpg - fruit`}, []Term{words(2, "golden retriever"), {Image: "./pool.jpg", Weight: 1}, words(-1, "fruit")}, nil},
		{"by the shell's words", []string{"2:golden retriever", "+", "./swimming pool.jpg", "-", "0.5:fruit"}, []Term{words(2, "golden retriever"), {Image: "./swimming pool.jpg", Weight: 1}, words(-0.5, "fruit")}, nil},
		{"a directory behind", []string{"horse", "+", "stripes", "photos"}, []Term{words(1, "horse"), words(1, "stripes")}, []string{"photos"}},
		{"two words behind", []string{"horse", "a", "b"}, []Term{words(1, "horse")}, []string{"a", "b"}},
		{"an operator in the next word", []string{"horse", "+ stripes", "photos"}, []Term{words(1, "horse"), words(1, "stripes")}, []string{"photos"}},
		{"without what follows", []string{"- night"}, []Term{words(-1, "night")}, nil},
		{"hyphens inside", []string{"t-shirt c++ a+b"}, []Term{words(1, "t-shirt c++ a+b")}, nil},
		{"quoted operators", []string{`"a - b" + c`}, []Term{words(1, "a - b"), words(1, "c")}, nil},
		{"a colon that is not a weight", []string{"Rome: a city"}, []Term{words(1, "Rome: a city")}, nil},
		{"pictures", []string{"/a.png + ../b.png - .5:~/c.png"}, []Term{{Image: "/a.png", Weight: 1}, {Image: "../b.png", Weight: 1}, {Image: "~/c.png", Weight: -0.5}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			terms, rest, err := ParseQuery(c.words...)
			require.NoError(t, err)
			assert.Equal(t, c.terms, terms)
			assert.Equal(t, c.rest, rest)
		})
	}
	for query, says := range map[string]string{
		"": "the query is empty", "  ": "the query is empty", "+": "the query is empty", "a +": "ends with an operator", "a + - b": "two operators follow each other",
		`"a`: "a quotation mark is missing", "0:a": "must be above 0 and at most 1000000", "9999999:a": "must be above 0 and at most 1000000", "2:": "a term of the query is empty",
		"https://example.com/a.png": "images are not fetched",
	} {
		_, _, err := ParseQuery(query)
		assert.ErrorContains(t, err, says, query)
	}
}

func TestCombine(t *testing.T) {
	row, err := Combine([]Term{{Weight: 2}, {Weight: -1}}, [][]float32{{1, 0}, {0, 1}})
	require.NoError(t, err)
	assert.InDeltaSlice(t, []float64{2 / math.Sqrt(5), -1 / math.Sqrt(5)}, []float64{float64(row[0]), float64(row[1])}, 1e-6)
	_, err = Combine([]Term{{Weight: 1}, {Weight: -1}}, [][]float32{{1, 0}, {1, 0}})
	assert.ErrorContains(t, err, "cancel each other out")
	_, err = Combine([]Term{{Weight: 1}, {Weight: -1}}, [][]float32{{1, 0}})
	assert.ErrorContains(t, err, "1 rows for the 2 terms")
	_, err = Combine([]Term{{Weight: 1}, {Weight: -1}}, [][]float32{{1, 0}, {1}})
	assert.ErrorContains(t, err, "rows of 2 and of 1 numbers")
}

// FuzzParseQuery has every query give terms, with weights that can be summed, or one line of an
// error.
func FuzzParseQuery(of *testing.F) {
	f := campaign.Inputs(of, 16<<20)
	for _, query := range []string{"horse + stripes", `"2:golden retriever" + ./pool.jpg - fruit`, "a +", `"`, "1e9:x", "- - -", "2:\"a\"", "\x00 + \xff", "a\n+ b"} {
		f.Add(query, "+")
		f.Add(query, "photos")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		terms, rest, err := ParseQuery(a, b)
		if err != nil {
			assert.Empty(t, terms)
			return
		}
		require.NotEmpty(t, terms)
		assert.LessOrEqual(t, len(terms), maxTerms)
		assert.LessOrEqual(t, len(rest), 1)
		for _, term := range terms {
			assert.True(t, (term.Text == "") != (term.Image == ""))
			assert.True(t, math.Abs(term.Weight) > 0 && math.Abs(term.Weight) <= 1e6)
		}
	})
}
