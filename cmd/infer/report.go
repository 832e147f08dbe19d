package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

type reportCmd struct {
	Logs   string `name:"run" help:"Run of train, LOGS/NAME, with its loss and evaluations." required:"" placeholder:"DIR"`
	Scores string `help:"Output of infer score --format csv." required:"" placeholder:"FILE"`
	Out    string `help:"Page to write." required:"" placeholder:"FILE"`
}

// page is what the template shows.
type page struct {
	Run     string
	Texts   []string
	Rows    []pageRow
	Curve   string // points of an SVG polyline, 600 x 200
	Steps   int
	First   float64
	Last    float64
	Results []map[string]float64
}

// Columns returns how many cells a row has beside its image.
func (p page) Columns() int { return max(len(p.Texts), 1) }

type pageRow struct {
	Name      string
	Thumbnail template.URL // a thumbnail, empty where there is none
	Error     string       // why
	texts     []string
	Prob      []float64 // of each of the page's texts, or none for an image that score could not read
}

func (*reportCmd) Help() string {
	return `Examples:

  infer score --format csv --texts captions.txt photos/*.jpg > scores.csv
  infer report --run logs/photos --scores scores.csv --out report.html`
}

func (c *reportCmd) Run(io *streams) error {
	p := page{Run: filepath.Base(filepath.Clean(c.Logs))}
	if err := p.readScores(c.Scores); err != nil {
		return fmt.Errorf("--scores %s: %w", c.Scores, err)
	}
	var losses []float64
	if err := eachLine(filepath.Join(c.Logs, "metrics.jsonl"), func(line map[string]float64) { losses = append(losses, line["loss"]) }); err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	if len(losses) == 0 {
		return fmt.Errorf("--run: %s has no step yet: it is a directory LOGS/NAME that train wrote", c.Logs)
	}
	err := eachLine(filepath.Join(c.Logs, "results.jsonl"), func(line map[string]float64) { p.Results = append(p.Results, line) })
	if err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	p.Steps, p.First, p.Last = len(losses), losses[0], losses[len(losses)-1]
	p.Curve = curve(losses)
	failed := p.drawImages(io.err)
	if err := writePage(context.Background(), c.Out, "report", p, io.err); err != nil {
		return err
	}
	if failed {
		return errReported
	}
	return nil
}

var errScores = errors.New("it is not what score --format csv prints")

// readScores makes the rows, without their images.
func (p *page) readScores(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	table, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return err
	}
	if len(table) == 0 || !slices.Equal(table[0], scoreColumns) {
		return errScores
	}
	for _, line := range table[1:] {
		path, text := line[0], line[1]
		if line[4] != "" {
			p.Rows = append(p.Rows, pageRow{Name: path, Error: line[4]})
			continue
		}
		prob, err := strconv.ParseFloat(line[3], 64)
		if err != nil || !(prob >= 0 && prob <= 1) {
			return errScores
		}
		last := len(p.Rows) - 1
		if last < 0 || p.Rows[last].Name != path || slices.Contains(p.Rows[last].texts, text) {
			p.Rows = append(p.Rows, pageRow{Name: path})
			last++
		}
		row := &p.Rows[last]
		row.texts, row.Prob = append(row.texts, text), append(row.Prob, prob)
	}
	for _, row := range p.Rows {
		switch {
		case row.Error != "":
		case p.Texts == nil:
			p.Texts = row.texts
		case !slices.Equal(p.Texts, row.texts):
			return errScores
		}
	}
	return nil
}

// drawImages embeds the thumbnails. An image that is gone by now leaves its place empty and is
// reported.
func (p *page) drawImages(errs io.Writer) (failed bool) {
	for i := range p.Rows {
		row := &p.Rows[i]
		if row.Error != "" {
			continue
		}
		var err error
		if row.Thumbnail, err = thumbnailURL(row.Name); err != nil {
			failed, row.Error = true, err.Error()
			fmt.Fprintln(errs, message(err))
		}
	}
	return failed
}

// eachLine reads a .jsonl file; one that is not there has no lines, and the one that train is
// writing does not count.
func eachLine(path string, f func(map[string]float64)) error {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	for r := bufio.NewReader(in); ; {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var line map[string]float64
		if err := json.Unmarshal(text, &line); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		f(line)
	}
}

// curve scales losses to a drawing of 600 x 200.
func curve(losses []float64) string {
	top := max(slices.Max(losses), 1e-9)
	var points strings.Builder
	for i, loss := range losses {
		fmt.Fprintf(&points, "%.1f,%.1f ", 600*float64(i)/float64(max(len(losses)-1, 1)), 195-190*loss/top)
	}
	return points.String()
}
