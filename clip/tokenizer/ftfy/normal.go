package ftfy

import (
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// joiner is what x/text puts into a run of more than 30 marks (Unicode's stream-safe format). Python's unicodedata leaves
// such runs whole, and so do NFC and NFD.
const joiner = "\u034f"

// NFC composes letters and marks.
func NFC(text string) string {
	if composed := norm.NFC.String(text); strings.Count(composed, joiner) == strings.Count(text, joiner) {
		return composed
	}
	var out []rune
	starter, last := -1, uint8(0) // the place of the last starter, and the class of the last mark after it
	for _, r := range decomposed(text) {
		c := class(r)
		if starter >= 0 && (last < c || last == 0 && starter == len(out)-1) { // nothing stands between that would block it
			if whole := []rune(norm.NFC.String(string([]rune{out[starter], r}))); len(whole) == 1 {
				out[starter] = whole[0]
				continue
			}
		}
		if last = c; c == 0 {
			starter = len(out)
		}
		out = append(out, r)
	}
	return string(out)
}

// NFD decomposes letters and puts their marks in order.
func NFD(text string) string {
	if plain := norm.NFD.String(text); strings.Count(plain, joiner) == strings.Count(text, joiner) {
		return plain
	}
	return string(decomposed(text))
}

func decomposed(text string) []rune {
	var out []rune
	for _, r := range text {
		out = append(out, []rune(norm.NFD.String(string(r)))...)
	}
	for from := 0; from < len(out); from++ {
		to := from
		for to < len(out) && class(out[to]) > 0 {
			to++
		}
		slices.SortStableFunc(out[from:to], func(a, b rune) int { return int(class(a)) - int(class(b)) })
		from = to
	}
	return out
}

// class is Unicode's canonical combining class: 0 of a starter.
func class(r rune) uint8 { return norm.NFC.PropertiesString(string(r)).CCC() }
