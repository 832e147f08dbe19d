package evaluate

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train/data"
)

var wordNetID = regexp.MustCompile(`^n\d{8}$`)

// ClassNames returns the names that folders stand for: n01440764 is ImageNet's tench, whichever of
// ImageNet's folders there are; 0 to 999, when those are the folders, are ImageNet's indices, as in
// ImageNetV2; grey_wolf is a grey wolf.
func ClassNames(folders []string) ([]string, error) {
	imagenet := clip.ImageNetClasses()
	byID := map[string]string{}
	for _, c := range imagenet {
		byID[c.WordNetID] = c.Name
	}
	indices := len(folders) == len(imagenet) && !slices.ContainsFunc(folders, func(folder string) bool {
		i, err := strconv.Atoi(folder)
		return err != nil || i < 0 || i >= len(imagenet)
	})
	names := make([]string, len(folders))
	for i, folder := range folders {
		switch {
		case indices:
			index, _ := strconv.Atoi(folder)
			names[i] = imagenet[index].Name
		case wordNetID.MatchString(folder):
			if names[i] = byID[folder]; names[i] == "" {
				return nil, fmt.Errorf("the folder %s is named like a class of ImageNet but is not one of its 1,000: name it by what its images show", folder)
			}
		default:
			if names[i] = strings.TrimSpace(strings.ReplaceAll(folder, "_", " ")); names[i] == "" {
				return nil, fmt.Errorf("the folder %q gives its class no name", folder)
			}
		}
	}
	return names, nil
}

// within is a data set whose classes are some of names.
type within struct {
	data.Dataset
	set    Classes
	places []int // of the set's classes in names
	names  []string
}

// Within is d with the classes names, of which d may have only some: ImageNet's 1,000 for the 200 of
// ImageNet-A. A class of d is known by its number in names, if all of d's are numbers, by its name,
// whatever the case and with spaces or underscores, or among ImageNet's by its WordNet id.
func Within(d Classes, names []string) (Classes, error) {
	plain := func(name string) string {
		return strings.ToLower(strings.ReplaceAll(strings.TrimSpace(name), "_", " "))
	}
	known := map[string]int{}
	for i, name := range slices.Backward(names) { // of equal names the first
		known[plain(name)] = i
	}
	if imagenet, _ := clip.ClassSet("imagenet"); slices.Equal(names, imagenet) {
		for i, c := range clip.ImageNetClasses() {
			known[c.WordNetID] = i
		}
	}
	have := d.Classes()
	numbers := !slices.ContainsFunc(have, func(name string) bool {
		n, err := strconv.Atoi(name)
		return err != nil || n < 0 || n >= len(names)
	})
	w := &within{Dataset: d, set: d, places: make([]int, len(have)), names: names}
	for i, name := range have {
		place, found := known[plain(name)]
		switch {
		case numbers:
			place, _ = strconv.Atoi(name)
		case len(have) == len(names) && plain(name) == plain(names[i]):
			place = i
		case !found:
			return nil, fmt.Errorf("evaluate: the class %q is not one of the %d names", name, len(names))
		}
		w.places[i] = place
	}
	return w, nil
}

func (w *within) Classes() []string { return w.names }

func (w *within) Class(i int) int { return w.places[w.set.Class(i)] }
