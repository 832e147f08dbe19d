package main

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/models"
)

// modelRow is a built-in config with one of its published tags, or without weights.
type modelRow struct {
	Model      string  `json:"model"`
	Tag        string  `json:"tag,omitempty"`
	Hub        string  `json:"hub,omitempty"`
	Parameters int     `json:"parameters,omitempty"`
	Image      string  `json:"image"` // pixels of a side, or HEIGHTxWIDTH
	License    string  `json:"license,omitempty"`
	ImageNet   float64 `json:"imagenet,omitempty"` // zero-shot accuracy
	Parity     bool    `json:"parity,omitempty"`
	Here       bool    `json:"here"` // the weights are on this machine
}

// modelRows are the configs in order of their names, each with its tags in open_clip's order.
func modelRows(downloads []pretrained.Downloaded) (rows []modelRow) {
	here := map[string]bool{}
	for _, d := range downloads {
		here[d.Name.String()] = true
	}
	of := map[string][]pretrained.Entry{}
	for _, e := range pretrained.Entries() {
		of[e.Model] = append(of[e.Model], e)
	}
	for _, name := range tower.ConfigNames() {
		c, err := tower.LookupConfig(name)
		if err != nil {
			panic(err) // built in
		}
		row := modelRow{Model: name, Image: c.Vision.ImageSize.String()}
		if name == models.Default {
			row.Tag, row.Here = "built in", true
		}
		base, quick := strings.CutSuffix(name, "-quickgelu")
		before := len(rows)
		for _, e := range of[base] {
			if e.QuickGELU != quick && quick {
				continue
			}
			r := row
			r.Tag, r.Hub, r.Parameters, r.License, r.ImageNet, r.Parity = e.Tag, e.Repo, e.Parameters, e.License, e.ImageNet, e.Parity
			r.Here = here[e.Model+":"+e.Tag] || here["hf-hub:"+e.Repo]
			rows = append(rows, r)
		}
		if len(rows) == before {
			rows = append(rows, row)
		}
	}
	return rows
}

// has reports whether each of the words is in one of the row's names, in any case.
func (r modelRow) has(words []string) bool {
	text := strings.ToLower(r.Model + ":" + r.Tag + " " + r.Hub)
	for _, word := range words {
		if !strings.Contains(text, strings.ToLower(word)) {
			return false
		}
	}
	return true
}

// cells are the row's columns as text.
func (r modelRow) cells() []string {
	parameters, accuracy := "", ""
	if r.Parameters > 0 {
		parameters = countText(r.Parameters)
	}
	if r.ImageNet > 0 {
		accuracy = fmt.Sprintf("%.1f%%", 100*r.ImageNet)
	}
	return []string{r.Model, r.Tag, parameters, r.Image, accuracy, r.License, yes(r.Parity), r.Hub, yes(r.Here)}
}

var modelColumns = []string{"model", "tag", "parameters", "image", "ImageNet", "license", "parity", "hub", "here"}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// countText writes 151M or 1.4B.
func countText(n int) string {
	if n >= 1e9 {
		return fmt.Sprintf("%.1fB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.0fM", float64(n)/1e6)
}

// parseCount reads 200M, 1.5B or a number; "" is 0.
func parseCount(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	unit := 1.0
	digits := text
	for suffix, factor := range map[string]float64{"K": 1e3, "M": 1e6, "B": 1e9} {
		if stem, ok := strings.CutSuffix(strings.ToUpper(text), suffix); ok {
			unit, digits = factor, stem
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !(n > 0) || n*unit > math.MaxInt32*1e3 {
		return 0, usageError(fmt.Sprintf("--max-params %s: must be a number such as 200M or 1.5B", text))
	}
	return int(n * unit), nil
}

func printModels(w io.Writer, format string, rows []modelRow) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		for _, r := range rows {
			if err := e.Encode(r); err != nil {
				return err
			}
		}
		return nil
	case "csv":
		t := csv.NewWriter(w)
		_ = t.Write(modelColumns) // Error, below, has what failed
		for _, r := range rows {
			_ = t.Write(r.cells())
		}
		t.Flush()
		return t.Error()
	case "markdown": // without what is on this machine
		last := len(modelColumns) - 1
		lines := []string{"| " + strings.Join(modelColumns[:last], " | ") + " |", strings.Repeat("|---", last) + "|"}
		for _, r := range rows {
			lines = append(lines, "| "+strings.Join(r.cells()[:last], " | ")+" |")
		}
		_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "model\ttag\tparameters\timage\tImageNet\there")
	for _, r := range rows {
		cells := r.cells()
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Model, cmp.Or(r.Tag, "-"), cells[2], cells[3], cells[4], cells[8])
	}
	return t.Flush()
}
