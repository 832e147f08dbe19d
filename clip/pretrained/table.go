package pretrained

import (
	"cmp"
	_ "embed"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Entry is what is published of one model and tag.
type Entry struct {
	Model  string `json:"model"`  // the config's name, without -quickgelu
	Tag    string `json:"tag"`    // what it was trained on
	Repo   string `json:"repo"`   // on the hub: ORG/NAME
	File   string `json:"file"`   // in Repo; "" for open_clip's usual names
	URL    string `json:"url"`    // of the authors' own file
	SHA256 string `json:"sha256"` // of the file at URL: all 64 digits, the first eight, or none

	// QuickGELU tells which GELU the weights were trained with. They do not show it, and the wrong
	// one costs 2.7 points of ImageNet accuracy without a word.
	QuickGELU bool `json:"quick_gelu"`

	Parameters int     `json:"parameters"` // of the config
	ImageNet   float64 `json:"imagenet"`   // zero-shot accuracy on ImageNet that open_clip publishes, or 0
	License    string  `json:"license"`    // of the weights, where timm tells it
	Parity     bool    `json:"parity"`     // the config was compared in full size: docs/internals/parity.md

	// How an image is prepared, in preprocess.Config's terms; its size is the model config's.
	Mean          [3]float32 `json:"mean"`
	Std           [3]float32 `json:"std"`
	Interpolation string     `json:"interpolation"`
	ResizeMode    string     `json:"resize_mode"`
}

// Entries are all rows of the table, in open_clip's order.
func Entries() []Entry { return slices.Clone(table()) }

// ModelTags is a model with its tags.
type ModelTags struct {
	Model string
	Tags  []string
}

const quickGELU = "-quickgelu" // ends the name of a config that has the other GELU

//go:embed table.json
var tableJSON []byte

var table = sync.OnceValue(func() []Entry {
	var raw []json.RawMessage
	if err := json.Unmarshal(tableJSON, &raw); err != nil {
		panic(err) // embedded: cannot fail
	}
	entries := make([]Entry, len(raw))
	for i := range raw {
		// The defaults are open_clip's: OpenAI's images.
		entries[i] = Entry{Mean: [3]float32{0.48145466, 0.4578275, 0.40821073}, Std: [3]float32{0.26862954, 0.26130258, 0.27577711},
			Interpolation: "bicubic", ResizeMode: "shortest"}
		if err := json.Unmarshal(raw[i], &entries[i]); err != nil {
			panic(err)
		}
	}
	return entries
})

// Tags lists every model that has published weights, with their tags, in open_clip's order. A model
// some of whose weights need QuickGELU is listed a second time under its -quickgelu name, with
// those tags alone.
func Tags() []ModelTags {
	var plain, quick []ModelTags
	add := func(list []ModelTags, model, tag string) []ModelTags {
		if n := len(list); n > 0 && list[n-1].Model == model {
			list[n-1].Tags = append(list[n-1].Tags, tag)
			return list
		}
		return append(list, ModelTags{model, []string{tag}})
	}
	for _, e := range table() {
		plain = add(plain, e.Model, e.Tag)
		if e.QuickGELU {
			quick = add(quick, e.Model+quickGELU, e.Tag)
		}
	}
	return append(plain, quick...)
}

// Lookup finds the entry of a model and tag. Case, and the signs / @ - _, make no difference:
// "vit-b/32" is ViT-B-32, and "LAION2B-s34B-b79K" is laion2b_s34b_b79k. A name that ends in
// -quickgelu has the tags trained that way. ErrNotFound is inside the error, which lists names that
// are near.
func Lookup(model, tag string) (Entry, error) {
	models := Tags()
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = m.Model
	}
	name, ok := spelled(names, model)
	if !ok {
		return Entry{}, marked{fmt.Errorf("pretrained: no weights are published for a model called %q; did you mean %s?", model, either(near(model, names))), ErrNotFound}
	}
	m := models[slices.Index(names, name)]
	clean, ok := spelled(m.Tags, tag)
	if !ok {
		return Entry{}, marked{unknownTag(models, m, tag), ErrNotFound}
	}
	base := strings.TrimSuffix(name, quickGELU)
	i := slices.IndexFunc(table(), func(e Entry) bool { return e.Model == base && e.Tag == clean })
	return table()[i], nil
}

// unknownTag names the tags that m has, and the models that have the tag.
func unknownTag(models []ModelTags, m ModelTags, tag string) error {
	var others []string
	for _, other := range models {
		if _, ok := spelled(other.Tags, tag); ok {
			others = append(others, other.Model)
		}
	}
	names := near(tag, m.Tags)
	says := strings.Join(names, ", ")
	if rest := len(m.Tags) - len(names); rest > 0 {
		says += fmt.Sprintf(" and %d more", rest)
	}
	if len(others) > 0 {
		says += "; the tag belongs to " + strings.Join(near(m.Model, others), ", ")
	}
	return fmt.Errorf("pretrained: %s has no weights called %q; it has %s", m.Model, tag, says)
}

// near gives the five names that are most like name, the likest first.
func near(name string, names []string) []string {
	name, names = fold(name), slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int {
		return unlikeness(name, fold(a)) - unlikeness(name, fold(b))
	})
	return names[:min(5, len(names))]
}

// unlikeness is Levenshtein's distance, less twice what one name has in common with the start of
// the other, or all of it if the other contains it: people cut names short more often than they
// mistype them.
func unlikeness(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	common := 0
	for i := range len(a) {
		if common == i && i < len(b) && a[i] == b[i] {
			common++
		}
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, diagonal+1, row[j]+1)
		}
	}
	if strings.Contains(b, a) {
		common = len(a)
	}
	return row[len(b)] - 2*common
}

// The names that open_clip gives to weights on the hub (src/open_clip/constants.py); the first
// loads faster.
var hubFiles = []string{"open_clip_model.safetensors", "open_clip_pytorch_model.bin"}

// hubFiles are the names under which the hub may have an entry's weights. open_clip asks for the
// safetensors form of any file first (src/open_clip/pretrained.py).
func (e Entry) hubFiles() []string {
	if e.File == "" {
		return hubFiles
	}
	if ext := path.Ext(e.File); ext == ".bin" || ext == ".pth" {
		return []string{strings.TrimSuffix(e.File, ext) + ".safetensors", e.File}
	}
	return []string{e.File}
}

// candidate is one file that would do.
type candidate struct {
	place string // its path in goclip's cache, slashed; "" for the one that huggingface_hub would give it
	file  string // its name
	repo  string // on the hub, at
	rev   string // this branch, tag or commit, or main; or
	url   string // of the authors' own file
	hash  string // as place's; "" if none is known beforehand
}

func (c candidate) revision() string { return cmp.Or(c.rev, defaultRevision) }

// candidates lists the files that hold an entry's weights, the best first: one whose whole SHA-256
// is known, then the hub's, then the authors' own.
func (e Entry) candidates() []candidate {
	var own, hub []candidate
	dir := path.Join(e.Model, e.Tag)
	if e.URL != "" {
		file := path.Base(e.URL)
		own = append(own, candidate{place: path.Join(dir, file), file: file, url: e.URL, hash: e.SHA256})
	}
	if e.Repo != "" {
		for _, file := range e.hubFiles() {
			hub = append(hub, candidate{place: path.Join(dir, file), file: file, repo: e.Repo})
		}
	}
	if len(e.SHA256) == sha256Digits {
		return append(own, hub...)
	}
	return append(hub, own...)
}

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
