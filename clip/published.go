package clip

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
)

// isTag tells whether --pretrained is meant as a published tag: it is no file and not written as one.
func isTag(pretrained string) bool {
	_, err := os.Stat(pretrained)
	return err != nil && !strings.ContainsRune(pretrained, filepath.Separator) && filepath.Ext(pretrained) == ""
}

// describeTag describes the built-in config name with the weights of a published tag. The tag says which GELU they were
// trained with and how pictures are prepared; both follow it, because neither can be seen in the weights.
func describeTag(name string, c *tower.Config, tag string) (d description, err error) {
	e, err := pretrained.Lookup(name, tag)
	if err != nil {
		return d, fmt.Errorf("clip: %q is no file, and %w", tag, err)
	}
	d, err = describePublished(c, e)
	d.published = true
	return d, err
}

// findPublished is the file of the tag o.Pretrained: from a cache on this machine or from the network.
func findPublished(name string, o OpenOptions) (path string, err error) {
	file, err := pretrained.Find(context.Background(), name, o.Pretrained, o.Fetch)
	if err != nil {
		return "", fmt.Errorf("clip: %w", err)
	}
	return file.Path, nil
}

// describePublished is the config with what the tag says.
func describePublished(c *tower.Config, e pretrained.Entry) (d description, err error) {
	d.config = c.Clone()
	d.config.QuickGELU = e.QuickGELU
	size := c.Vision.ImageSize
	p := preprocess.DefaultConfig(size.Height)
	p.Size = [2]int{size.Height, size.Width}
	p.Mean, p.Std, p.Interpolation, p.ResizeMode = e.Mean, e.Std, e.Interpolation, e.ResizeMode
	d.preprocess = &p
	return d, p.Validate()
}
