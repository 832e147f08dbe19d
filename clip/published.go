package clip

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
)

// isTag tells whether --pretrained is meant as a published tag: it is no file and not written as one.
func isTag(pretrained string) bool {
	_, err := os.Stat(pretrained)
	return err != nil && !strings.ContainsRune(pretrained, filepath.Separator) && filepath.Ext(pretrained) == ""
}

// openPublished makes the built-in config name with the weights of a published tag: from a cache on this machine or from the
// network. The tag says which GELU they were trained with and how pictures are prepared; both follow it, because neither
// can be seen in the weights.
func openPublished(name string, c *Config, o OpenOptions) (*Model, error) {
	e, err := pretrained.Lookup(name, o.Pretrained)
	if err != nil {
		return nil, fmt.Errorf("clip: %q is no file, and %w", o.Pretrained, err)
	}
	file, err := pretrained.Find(context.Background(), name, o.Pretrained, o.Fetch)
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	d, err := describePublished(c, e)
	if err != nil {
		return nil, err
	}
	o.Pretrained = ""
	m, err := d.open(name, o, file.Path)
	if m != nil {
		m.fetch = &o.Fetch
	}
	return m, err
}

// describePublished is the config with what the tag says.
func describePublished(c *Config, e pretrained.Entry) (d description, err error) {
	d.config = c.clone()
	d.config.QuickGELU = e.QuickGELU
	size := c.Vision.ImageSize
	p := preprocess.DefaultConfig(size.Height)
	p.Size = [2]int{size.Height, size.Width}
	p.Mean, p.Std, p.Interpolation, p.ResizeMode = e.Mean, e.Std, e.Interpolation, e.ResizeMode
	d.preprocess = &p
	return d, p.Validate()
}
