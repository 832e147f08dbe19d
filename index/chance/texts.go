package chance

import "github.com/goclip/goclip/clip"

// Texts are what a background's texts are made of: every fourth of ImageNet's classes, which are
// things of all kinds. They are encoded once for a model.
func Texts() (list []string) {
	names, err := clip.ClassSet("imagenet")
	if err != nil {
		panic(err) // it is part of this program
	}
	for i := 0; i < len(names); i += 4 {
		list = append(list, names[i])
	}
	return list
}
