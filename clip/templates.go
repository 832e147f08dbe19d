package clip

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
)

// The texts are OpenAI's, from notebooks/Prompt_Engineering_for_ImageNet.ipynb of openai/CLIP, as open_clip 3.3.0 has
// them (src/open_clip/zero_shot_metadata.py); testdata/clip/make_zeroshot.py writes them.
//
//go:embed zeroshot/*.txt
var zeroshotTexts embed.FS

// The named sets of templates: the 80 that OpenAI wrote for ImageNet, the 7 of them that its notebook selects, for an
// eleventh of the time, and the 18 for CIFAR-10 and CIFAR-100.
const (
	ImageNet80 = "openai_imagenet_80"
	ImageNet7  = "openai_imagenet_7"
	CIFAR18    = "openai_cifar_18"
)

// Templates returns the prompts that spec means, with {} where a class's name goes: a named set ([ImageNet80],
// [ImageNet7], [CIFAR18]), one template written out ("a photo of a {}."), or a file with a template per line.
func Templates(spec string) ([]string, error) {
	if strings.Contains(spec, "{}") {
		return []string{spec}, nil
	}
	if spec == ImageNet80 || spec == ImageNet7 || spec == CIFAR18 {
		return zeroshotLines(spec), nil
	}
	data, err := os.ReadFile(spec)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("clip: %q is not a set of templates (%s, %s, %s), no file, and no template: it has no {}", spec, ImageNet80, ImageNet7, CIFAR18)
	}
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	templates := lines(string(data))
	if len(templates) == 0 {
		return nil, fmt.Errorf("clip: %s is empty; each line must be a template such as \"a photo of a {}.\"", spec)
	}
	if err := checkTemplates(templates); err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, spec)
	}
	return templates, nil
}

func checkTemplates(templates []string) error {
	for _, t := range templates {
		if !strings.Contains(t, "{}") {
			return fmt.Errorf("clip: the template %q has no {} for the class's name", t)
		}
	}
	return nil
}

// ClassSets are the named sets of [ClassSet].
var ClassSets = []string{"imagenet", "cifar10", "cifar100"}

// ClassSet returns the names of a set of classes in the order of their numbers: imagenet, cifar10 or cifar100.
func ClassSet(name string) ([]string, error) {
	switch {
	case !slices.Contains(ClassSets, name):
		return nil, fmt.Errorf("clip: the set of classes %q must be one of %s", name, strings.Join(ClassSets, ", "))
	case name != "imagenet":
		return zeroshotLines(name + "_classes"), nil
	}
	var names []string
	for _, c := range imageNetClasses() {
		names = append(names, c.Name)
	}
	return names, nil
}

// ImageNetClass is one of ImageNet's 1,000 classes of 2012.
type ImageNetClass struct {
	WordNetID string // n01440764: the name of its folder
	Name      string // tench: OpenAI's name, meant for prompts
}

// ImageNetClasses are ImageNet's classes in the order of their indices, which is that of their WordNet ids.
func ImageNetClasses() []ImageNetClass { return slices.Clone(imageNetClasses()) }

var imageNetClasses = sync.OnceValue(func() []ImageNetClass {
	var classes []ImageNetClass
	for _, line := range zeroshotLines("imagenet_classes") {
		id, name, _ := strings.Cut(line, "\t")
		classes = append(classes, ImageNetClass{id, name})
	}
	return classes
})

func zeroshotLines(name string) []string {
	data, err := zeroshotTexts.ReadFile(path.Join("zeroshot", name+".txt"))
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	return lines(string(data))
}

// lines are a text's lines, without the empty ones.
func lines(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			out = append(out, line)
		}
	}
	return out
}
