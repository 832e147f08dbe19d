package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/index"
)

// filterFlags narrow a search.
type filterFlags struct {
	Folder  string `help:"Only images in or below this directory." placeholder:"DIR"`
	Since   string `help:"Only images taken (by EXIF, else changed) at or after this time: 2024, 2024-06, 2024-06-01, 2024-06-01T15:04:05+02:00, or 30d for days ago." placeholder:"DATE"`
	Until   string `help:"Only images taken or changed before this time." placeholder:"DATE"`
	MinSize string `help:"Only files of at least this size: 500, 200kB, 3MB." placeholder:"SIZE"`
	MaxSize string `help:"Only files of at most this size." placeholder:"SIZE"`
}

func (f *filterFlags) filter() (out index.Filter, err error) {
	out.Folder = f.Folder
	for _, date := range []struct {
		flag, text string
		to         *time.Time
	}{{"--since", f.Since, &out.Since}, {"--until", f.Until, &out.Until}} {
		if date.text != "" {
			if *date.to, err = parseDate(date.text, time.Now()); err != nil {
				return out, usageError(date.flag + " " + date.text + ": must be a day (2024-06-01), a month (2024-06), a year (2024), a time (2024-06-01T15:04:05Z) or a number of days ago (30d)")
			}
		}
	}
	for _, size := range []struct {
		flag, text string
		to         *int64
	}{{"--min-size", f.MinSize, &out.MinSize}, {"--max-size", f.MaxSize, &out.MaxSize}} {
		if size.text != "" {
			if *size.to, err = parseSize(size.text); err != nil {
				return out, usageError(size.flag + " " + size.text + ": must be a number of bytes such as 500, 200kB or 3MB")
			}
		}
	}
	return out, nil
}

// parseDate reads 2024, 2024-05, 2024-05-31 (the beginning of it, here), a time with its zone, or 30d.
func parseDate(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return now.AddDate(0, 0, -int(n)), err
	}
	for _, layout := range []string{time.DateOnly, "2006-01", "2006"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Parse(time.RFC3339, text)
}

func parseSize(text string) (int64, error) {
	scale := 1.0
	lower := strings.ToLower(text)
	for _, unit := range []struct {
		name  string
		scale float64
	}{{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"b", 1}} {
		if number, ok := strings.CutSuffix(lower, unit.name); ok {
			lower, scale = number, unit.scale
			break
		}
	}
	x, err := strconv.ParseFloat(strings.TrimSpace(lower), 64)
	if err == nil && !(x > 0 && x*scale < 1<<60) {
		err = strconv.ErrRange
	}
	return int64(x * scale), err
}

// result is the JSON that search prints.
type result struct {
	Model   string        `json:"model"`
	Query   []termJSON    `json:"query,omitempty"`
	Results []foundJSON   `json:"results,omitempty"`
	Groups  [][]foundJSON `json:"groups,omitempty"` // of --duplicates

	Skipped map[string]int `json:"skipped,omitempty"` // files of the directory that are no images, by kind
}

type termJSON struct {
	Text    string   `json:"text,omitempty"`
	Image   fileName `json:"image,omitempty"`
	Concept string   `json:"concept,omitempty"`
	Weight  float64  `json:"weight"`
}

type foundJSON struct {
	Path     fileName  `json:"path"`
	Video    fileName  `json:"video,omitempty"` // of a frame: its file, and
	Time     *float64  `json:"time,omitempty"`  // its second
	Score    float64   `json:"score"`           // cosine with the query, or with the group's first image
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Date     time.Time `json:"date"` // when it was taken, by its EXIF data, or else Modified

	Probability *float64 `json:"probability,omitempty"` // with --min-probability
}

func found(hits []index.Hit) []foundJSON {
	list := make([]foundJSON, len(hits))
	for i, h := range hits {
		list[i] = foundJSON{Path: fileName(h.Path), Score: h.Score, Size: h.Size, Modified: h.ModTime.UTC(), Date: h.Date.UTC()}
		if video, at, ok := preprocess.VideoFrame(h.Path); ok {
			list[i].Video, list[i].Time = fileName(video), &at
		}
	}
	return list
}

func (c *searchCmd) print(ctx context.Context, io *streams, s *searcher, terms []index.Term, hits []index.Hit) error {
	if c.HTML != "" || c.Open {
		if err := c.writePage(ctx, io, s.name, terms, hits); err != nil {
			return err
		}
	}
	if c.FilepathOnly {
		return printNames(io.out, c.Null, filesOf(hits)...)
	}
	if c.Format == "json" {
		r := result{Model: s.name, Results: found(hits), Skipped: s.skipped.kinds}
		for i := range hits {
			if c.MinProbability != nil {
				r.Results[i].Probability = &hits[i].Probability
			}
		}
		for _, t := range terms {
			r.Query = append(r.Query, termJSON{t.Text, fileName(t.Image), t.Concept, t.Weight})
		}
		return printJSON(io.out, r)
	}
	return c.printGroups(io, [][]index.Hit{hits})
}

func (c *searchCmd) printDuplicates(io *streams, groups [][]index.Hit) error {
	if c.FilepathOnly { // what could be removed: all but the first of each group
		for _, g := range groups {
			if err := printNames(io.out, c.Null, pathsOf(g[1:])...); err != nil {
				return err
			}
		}
		return nil
	}
	if c.Format == "json" {
		r := result{}
		for _, g := range groups {
			r.Groups = append(r.Groups, found(g))
		}
		return printJSON(io.out, r)
	}
	return c.printGroups(io, groups)
}

// printGroups prints rows, with the images if they were asked for and the terminal shows such.
func (c *searchCmd) printGroups(io *streams, groups [][]index.Hit) error {
	if c.Preview {
		draw, err := terminalDrawing(io.out, os.Getenv)
		if err == nil {
			return printPreviews(io.out, io.err, draw, groups)
		}
		fmt.Fprintln(io.err, message(err))
	}
	return c.printRows(io.out, groups)
}

// filesOf are the files of the hits, a video's once.
func filesOf(hits []index.Hit) []string {
	var list []string
	seen := map[string]bool{}
	for _, h := range hits {
		path := h.Path
		if video, _, ok := preprocess.VideoFrame(path); ok {
			path = video
		}
		if !seen[path] {
			list = append(list, path)
		}
		seen[path] = true
	}
	return list
}

func pathsOf(hits []index.Hit) []string {
	list := make([]string, len(hits))
	for i, h := range hits {
		list[i] = h.Path
	}
	return list
}

// printRows prints a line for each image; a table has an empty line between groups, CSV their
// numbers.
func (c *searchCmd) printRows(w io.Writer, groups [][]index.Hit) error {
	if c.Format == "csv" {
		header := []string{"score", "path", "size", "modified", "date"}
		if c.Duplicates {
			header = append([]string{"group"}, header...)
		}
		if c.MinProbability != nil {
			header = append(header, "probability")
		}
		table := [][]string{header}
		for i, hits := range groups {
			for _, h := range hits {
				row := []string{number(h.Score), h.Path, strconv.FormatInt(h.Size, 10), h.ModTime.UTC().Format(time.RFC3339), h.Date.UTC().Format(time.RFC3339)}
				if c.Duplicates {
					row = append([]string{strconv.Itoa(i)}, row...)
				}
				if c.MinProbability != nil {
					row = append(row, number(h.Probability))
				}
				table = append(table, row)
			}
		}
		return csv.NewWriter(w).WriteAll(table)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	probability := ""
	if c.MinProbability != nil {
		probability = "probability\t"
	}
	fmt.Fprintln(t, "score\t"+probability+"image")
	for i, hits := range groups {
		if i > 0 {
			fmt.Fprintln(t)
		}
		for _, h := range hits {
			if c.MinProbability != nil {
				probability = fmt.Sprintf("%.3f\t", h.Probability)
			}
			fmt.Fprintf(t, "%.3f\t%s%s\n", h.Score, probability, quoted(h.Path))
		}
	}
	return t.Flush()
}
