package clip

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
)

// isTag tells whether OpenOptions.Pretrained is meant as a published tag: it is no file and not written as one.
func isTag(pretrained string) bool {
	_, err := os.Stat(pretrained)
	return err != nil && !strings.ContainsRune(pretrained, filepath.Separator) && filepath.Ext(pretrained) == ""
}

// describeTag describes the built-in config name with the weights of a published tag. The tag says which GELU they were
// trained with and how images are prepared; both follow it, because neither can be seen in the weights.
func describeTag(name string, c *tower.Config, tag string) (d description, err error) {
	e, err := pretrained.Lookup(name, tag)
	if err != nil {
		return d, fmt.Errorf("clip: %q is no file, and %w", tag, err)
	}
	d = description{config: c.Clone(), builtin: name, tag: e.Tag}
	d.config.QuickGELU = e.QuickGELU
	size := c.Vision.ImageSize
	p := preprocess.DefaultConfig(size.Height)
	p.Size = [2]int{size.Height, size.Width}
	p.Mean, p.Std, p.Interpolation, p.ResizeMode = e.Mean, e.Std, e.Interpolation, e.ResizeMode
	d.preprocess = &p
	return d, p.Validate()
}
