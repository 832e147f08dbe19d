package main

import (
	"bufio"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

type reportCmd struct {
	Logs   string `name:"run" help:"A run of train, LOGS/NAME: its curve and its evaluations." required:"" placeholder:"DIR"`
	Scores string `help:"What score --format csv printed." required:"" placeholder:"FILE"`
	Out    string `help:"The page to write." required:"" placeholder:"FILE"`
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

type pageRow struct {
	Name    string
	Picture template.URL
	Prob    []float64
}

func (c *reportCmd) Run(io *streams) error {
	p := page{Run: filepath.Base(c.Logs)}
	if err := p.readScores(c.Scores); err != nil {
		return fmt.Errorf("report: %s: %w", c.Scores, err)
	}
	var losses []float64
	if err := eachLine(filepath.Join(c.Logs, "metrics.jsonl"), func(line map[string]float64) { losses = append(losses, line["loss"]) }); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if len(losses) == 0 {
		return fmt.Errorf("report: %s has no step yet", c.Logs)
	}
	err := eachLine(filepath.Join(c.Logs, "results.jsonl"), func(line map[string]float64) { p.Results = append(p.Results, line) })
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	p.Steps, p.First, p.Last = len(losses), losses[0], losses[len(losses)-1]
	p.Curve = curve(losses)
	out := newOutput(c.Out)
	if out.err == nil {
		out.err = reportTemplate.Execute(out.w, p)
	}
	return out.commit()
}

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
	for _, line := range table[min(1, len(table)):] {
		if len(line) < 4 || line[1] == "" {
			continue
		}
		prob, err := strconv.ParseFloat(line[3], 64)
		if err != nil {
			return errors.New("it is not what score --format csv prints")
		}
		if len(p.Rows) == 0 || p.Rows[len(p.Rows)-1].Name != line[0] {
			picture, err := os.ReadFile(line[0])
			if err != nil {
				return err
			}
			url := "data:" + http.DetectContentType(picture) + ";base64," + base64.StdEncoding.EncodeToString(picture)
			p.Rows = append(p.Rows, pageRow{Name: line[0], Picture: template.URL(url)})
		}
		row := &p.Rows[len(p.Rows)-1]
		row.Prob = append(row.Prob, prob)
		if !slices.Contains(p.Texts, line[1]) {
			p.Texts = append(p.Texts, line[1])
		}
	}
	return nil
}

// eachLine reads a .jsonl file; one that is not there has no lines.
func eachLine(path string, f func(map[string]float64)) error {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	scanner := bufio.NewScanner(in)
	for scanner.Scan() {
		var line map[string]float64
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		f(line)
	}
	return scanner.Err()
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

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"heat":    func(p float64) template.CSS { return template.CSS(fmt.Sprintf("background:rgba(40,140,80,%.2f)", p)) },
	"percent": func(p float64) string { return fmt.Sprintf("%.1f %%", 100*p) },
}).Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>goclip: {{.Run}}</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .5rem; text-align: center; border: 1px solid #8884 }
td img { width: 6rem; height: 6rem; object-fit: contain; background: #fff; border-radius: .5rem }
svg { width: 100%; border: 1px solid #8884; border-radius: .5rem } .quiet { opacity: .7 }
</style>
<h1>{{.Run}}</h1>
<h2>Pictures and texts</h2>
<p class="quiet">Each row is a picture; its probabilities over the texts sum to one.</p>
<table><tr><th></th>{{range .Texts}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr><td><img src="{{.Picture}}" alt="{{.Name}}"></td>{{range .Prob}}<td style="{{heat .}}">{{percent .}}</td>{{end}}</tr>
{{end}}</table>
<h2>Loss</h2>
<svg viewBox="0 0 600 200" role="img" aria-label="loss over steps"><polyline fill="none" stroke="#2a6fc9" stroke-width="1.5" points="{{.Curve}}"/></svg>
<p class="quiet">{{.Steps}} steps, from {{printf "%.3f" .First}} to {{printf "%.3f" .Last}}.</p>
{{if .Results}}<h2>Retrieval on held-out pictures</h2>
<table><tr><th>step</th><th>text to picture R@1</th><th>R@5</th><th>R@10</th><th>picture to text R@1</th></tr>
{{range .Results}}<tr><td>{{index . "step"}}</td><td>{{percent (index . "text_to_image_R@1")}}</td><td>{{percent (index . "text_to_image_R@5")}}</td><td>{{percent (index . "text_to_image_R@10")}}</td><td>{{percent (index . "image_to_text_R@1")}}</td></tr>
{{end}}</table>{{end}}
</html>
`))
