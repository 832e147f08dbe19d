package data

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Files returns the files, directories and streams that spec names, in order, as Open takes it.
func Files(spec string) (files []string, err error) {
	for _, part := range strings.Split(spec, "::") {
		some, err := expand(part)
		if err != nil {
			return nil, err
		}
		files = append(files, some...)
	}
	return files, nil
}

// expand turns "a-{00..02}.tar" or "b/*.tar" into the files it means, in order. A file of exactly
// that name is itself.
func expand(part string) ([]string, error) {
	if part == "" {
		return nil, fmt.Errorf("data: a source is empty; it must be paths with :: between them")
	}
	if remote(part) {
		return braces(part)
	}
	if _, err := os.Stat(part); err == nil {
		return []string{part}, nil
	}
	patterns, err := braces(part)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, pattern := range patterns {
		if !strings.ContainsAny(pattern, "*?[") {
			files = append(files, pattern)
			continue
		}
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("data: no file matches %s", pattern)
		}
		files = append(files, found...)
	}
	return files, nil
}

// maxFiles bounds what braces may mean: beyond it a range is a slip.
const maxFiles = 1 << 20

// maxDigits bounds how wide a range's numbers are.
const maxDigits = 18

// braces expands the first {00..12} or {a,b} of s and then the rest.
func braces(s string) ([]string, error) {
	open := strings.IndexByte(s, '{')
	if open < 0 {
		return []string{s}, nil
	}
	length := strings.IndexByte(s[open:], '}')
	if length < 0 {
		return nil, fmt.Errorf("data: %s: a brace is not closed", s)
	}
	inner, rest := s[open+1:open+length], s[open+length+1:]
	choices := strings.Split(inner, ",")
	if from, to, ranged := strings.Cut(inner, ".."); ranged {
		var a, b int
		if _, err := fmt.Sscanf(from+" "+to, "%d %d", &a, &b); err != nil || a < 0 || a > b || b-a > maxFiles || len(from) > maxDigits {
			return nil, fmt.Errorf("data: %s: {%s} is not a range such as {00000..00012}", s, inner)
		}
		choices = make([]string, 0, b-a+1)
		for i := a; i <= b; i++ {
			digits := strconv.Itoa(i)
			choices = append(choices, strings.Repeat("0", max(0, len(from)-len(digits)))+digits)
		}
	}
	tails, err := braces(rest)
	if err != nil {
		return nil, err
	}
	if len(choices)*len(tails) > maxFiles {
		return nil, fmt.Errorf("data: %s means more than %d files", s, maxFiles)
	}
	out := make([]string, 0, len(choices)*len(tails))
	for _, c := range choices {
		for _, tail := range tails {
			out = append(out, s[:open]+c+tail)
		}
	}
	return out, nil
}
