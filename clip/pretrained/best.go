package pretrained

import (
	_ "embed"
	"encoding/csv"
	"strconv"
	"strings"
	"sync"
)

// imagenetCSV has the zero-shot top-1 accuracy on ImageNet of published models, from open_clip's
// docs/openclip_results.csv at commit 89fb801; a row of an empty tag is a repository of the hub.
//
//go:embed imagenet.csv
var imagenetCSV string

var imagenet = sync.OnceValue(func() map[Name]float64 {
	rows, err := csv.NewReader(strings.NewReader(imagenetCSV)).ReadAll()
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	all := map[Name]float64{}
	for _, row := range rows {
		name := Name{Config: row[0], Tag: row[1]}
		if row[1] == "" {
			name = Name{Repo: row[0]}
		}
		if all[name], err = strconv.ParseFloat(row[2], 64); err != nil {
			panic(err)
		}
	}
	return all
})

// newerThanList is what a published model without a figure counts as: they are of 2024 and later,
// and most are better than OpenAI's.
const newerThanList = 0.75

// Best returns the one of the downloaded models that is best at telling photographs apart: of the highest
// zero-shot accuracy on ImageNet. Repositories of no known figure are left out: a cache holds models
// for tests, and for other images. ok is false where none is left.
func Best(list []Downloaded) (best Downloaded, ok bool) {
	highest := 0.0
	for _, d := range list {
		top1, known := imagenet()[d.Name]
		if !known && d.Name.Config != "" {
			top1 = newerThanList
		}
		if top1 > highest {
			best, highest, ok = d, top1, true
		}
	}
	return best, ok
}
