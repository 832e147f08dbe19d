package data

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Folders is a set of labelled pictures: a folder for each class, as ImageNet's validation pictures are unpacked and
// torchvision's ImageFolder reads them.
type Folders struct {
	dir     string
	classes []string
	files   []string // under dir
	labels  []int
}

// OpenFolders lists the pictures of the folders in dir, and of the folders in those. Classes and pictures are in
// alphabetical order; what has not a picture's extension or starts with a dot is left out.
func OpenFolders(dir string) (*Folders, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	f := &Folders{dir: dir}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, e.Name())) // a class may be a link to a folder
		if err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
		if !info.IsDir() {
			continue
		}
		if err := f.add(e.Name()); err != nil {
			return nil, err
		}
	}
	switch len(f.classes) {
	case 0:
		return nil, fmt.Errorf("data: %s holds no folder: one for each class is wanted, with its pictures", dir)
	case 1:
		return nil, fmt.Errorf("data: %s holds one folder, %s: at least two classes are wanted to tell apart", dir, f.classes[0])
	}
	return f, nil
}

func (f *Folders) add(class string) error {
	label, before := len(f.classes), len(f.files)
	root := filepath.Join(f.dir, class)
	err := filepath.WalkDir(root+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".")
		if d.IsDir() {
			if hidden && filepath.Clean(path) != root {
				return fs.SkipDir
			}
			return nil
		}
		ext := strings.ToLower(strings.TrimPrefix(filepath.Ext(path), "."))
		if hidden || !pictures[ext] {
			return nil
		}
		name, err := filepath.Rel(f.dir, path)
		f.files, f.labels = append(f.files, name), append(f.labels, label)
		return err
	})
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if len(f.files) == before {
		return fmt.Errorf("data: the class %s holds no picture: .jpg, .png, .webp, .gif, .bmp and .tif files are read", root)
	}
	f.classes = append(f.classes, class)
	return nil
}

// Classes are the names of the folders.
func (f *Folders) Classes() []string { return f.classes }

// Class is sample i's place in Classes.
func (f *Folders) Class(i int) int { return f.labels[i] }

func (f *Folders) Len() int { return len(f.files) }

func (f *Folders) Key(i int) string { return filepath.Join(f.dir, f.files[i]) }

// Caption is the name of the sample's folder.
func (f *Folders) Caption(i int) string { return f.classes[f.labels[i]] }

func (f *Folders) Image(i int) ([]byte, error) {
	b, err := os.ReadFile(f.Key(i))
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	return b, nil
}
