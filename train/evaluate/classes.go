package evaluate

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goclip/goclip/clip"
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
