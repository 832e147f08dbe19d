package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/models"
)

type modelsCmd struct{}

func (*modelsCmd) Help() string {
	return `  infer models
  infer models | grep SigLIP
  infer score --model ViT-B-32 --pretrained openai --text "a dog" dog.png      a config and one of its tags`
}

func (c *modelsCmd) Run(io *streams) error {
	tags := map[string][]string{}
	for _, m := range pretrained.Tags() {
		tags[m.Model] = m.Tags
	}
	t := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	for _, name := range tower.ConfigNames() {
		note := strings.Join(tags[name], " ")
		if name == models.Default {
			note = "shipped with its weights, the default"
		}
		fmt.Fprintf(t, "%s\t%s\n", name, note)
	}
	return t.Flush()
}
