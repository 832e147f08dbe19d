package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
)

// Folders is a set of labelled images: a folder for each class, as ImageNet's validation images
// are unpacked and torchvision's ImageFolder reads them.
type Folders struct {
	dir     string
	classes []string
	files   []string // under dir
	labels  []int

	captions [][]string // of each class
}

// openClasses takes a folder of folders as data to train on: a class's captions are those of each
// of its images.
func openClasses(ctx context.Context, dir string, o Options) (Index, error) {
	f, err := OpenFolders(ctx, dir)
	if err != nil {
		return nil, err
	}
	if o.Classes == nil {
		return f, nil
	}
	if f.captions, err = o.Classes(f.classes); err != nil {
		return nil, fmt.Errorf("data: %s: %w", dir, err)
	}
	return f, nil
}

// OpenFolders lists the images of the folders in dir, and of the folders in those. Classes and
// images are in alphabetical order; what has not an image's extension or starts with a dot is
// left out.
func OpenFolders(ctx context.Context, dir string) (*Folders, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	f := &Folders{dir: dir}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, e.Name())) // a class may be a link to a folder, or to none
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("data: %w", err)
		}
		if err != nil || !info.IsDir() {
			continue
		}
		if err := f.add(ctx, e.Name()); err != nil {
			return nil, err
		}
	}
	switch len(f.classes) {
	case 0:
		return nil, fmt.Errorf("data: %s holds no folder; each class must be a folder of images", dir)
	case 1:
		return nil, fmt.Errorf("data: %s holds one folder, %s: there must be at least two classes", dir, f.classes[0])
	}
	return f, nil
}

func (f *Folders) add(ctx context.Context, class string) error {
	label, before := len(f.classes), len(f.files)
	root := filepath.Join(f.dir, class)
	err := WalkImages(ctx, root, func(path string) error {
		name, err := filepath.Rel(f.dir, path)
		f.files, f.labels = append(f.files, name), append(f.labels, label)
		return err
	})
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if len(f.files) == before {
		return fmt.Errorf("data: the class %s holds no image: .jpg, .png, .webp, .gif, .bmp and .tif files are read", root)
	}
	f.classes, f.captions = append(f.classes, class), append(f.captions, []string{class})
	return nil
}

// isImage tells by a file's extension.
func isImage(path string) bool {
	return slices.Contains(imageExtensions, strings.ToLower(strings.TrimPrefix(filepath.Ext(path), ".")))
}

// Classes returns the names of the folders.
func (f *Folders) Classes() []string { return f.classes }

// Class is sample i's place in Classes.
func (f *Folders) Class(i int) int { return f.labels[i] }

func (f *Folders) Len() int { return len(f.files) }

func (f *Folders) Key(i int) string { return filepath.Join(f.dir, f.files[i]) }

// Captions returns the class's: the name of the sample's folder, unless it was opened with others.
func (f *Folders) Captions(i int) []string { return f.captions[f.labels[i]] }

// Sample i. Two images of a class are no negatives of each other's captions.
func (f *Folders) Sample(_ context.Context, i int) (Sample, error) {
	key, captions := f.Key(i), f.Captions(i)
	image := preprocess.FromFunc("", func(ctx context.Context) ([]byte, error) { return readImage(ctx, f.dir, key) })
	return Sample{Image: image, Texts: captions, ID: key, Class: captions[0]}, nil
}

// Labels are images whose caption is the name, or the number, of their class: a table with a column
// of classes, shards with .cls members.
type Labels struct {
	Index
	classes []string
	labels  []int
}

// NewLabels takes the captions of set, one for each image, as classes: the different ones in
// alphabetical order, or in that of numbers if all are.
func NewLabels(set Index) (*Labels, error) {
	l := &Labels{Index: set, labels: make([]int, set.Len())}
	places := map[string]int{}
	for i := range l.labels {
		captions := set.Captions(i)
		if len(captions) != 1 || strings.TrimSpace(captions[0]) == "" {
			return nil, fmt.Errorf("data: %s has %d captions: an image must have one, which is its class", set.Key(i), len(captions))
		}
		name := strings.TrimSpace(captions[0])
		if _, known := places[name]; !known {
			places[name] = 0
			l.classes = append(l.classes, name)
		}
	}
	if len(l.classes) < 2 {
		return nil, errors.New("data: all images have the same caption: at least two classes must be there to tell apart")
	}
	slices.Sort(l.classes)
	if !slices.ContainsFunc(l.classes, func(name string) bool { _, err := strconv.Atoi(name); return err != nil }) {
		slices.SortFunc(l.classes, func(a, b string) int {
			x, _ := strconv.Atoi(a)
			y, _ := strconv.Atoi(b)
			return cmp.Compare(x, y)
		})
	}
	for i, name := range l.classes {
		places[name] = i
	}
	for i := range l.labels {
		l.labels[i] = places[strings.TrimSpace(set.Captions(i)[0])]
	}
	return l, nil
}

// Classes returns the different captions.
func (l *Labels) Classes() []string { return l.classes }

// Class is sample i's place in Classes.
func (l *Labels) Class(i int) int { return l.labels[i] }
