package main

import (
	"fmt"
	"strings"

	"github.com/goclip/goclip/clip"
)

// card is the model card: the directory's own, with the YAML that the hub reads put before it if it
// has none, or one made of what the model tells.
func (c *pushCmd) card(m *clip.Model, own string) string {
	if strings.HasPrefix(own, "---\n") || strings.HasPrefix(own, "---\r\n") {
		return own
	}
	library := "open_clip"
	if !isThere(c.Dir, clip.ConfigFile) {
		library = "transformers"
	}
	var b strings.Builder
	b.WriteString("---\n")
	fmt.Fprintf(&b, "library_name: %s\npipeline_tag: zero-shot-image-classification\ntags:\n- clip\n", library)
	if c.License != "" {
		fmt.Fprintf(&b, "license: %s\n", c.License)
	}
	b.WriteString("---\n\n")
	if own != "" {
		return b.String() + own
	}
	_, name, _ := strings.Cut(c.Repo, "/")
	size := m.Preprocess.Size
	fmt.Fprintf(&b, "# %s\n\nA CLIP model: it embeds images and texts so that matching ones are near each other.\n\n", name)
	fmt.Fprintf(&b, "| | |\n|---|---|\n| parameters | %d |\n| images | %d x %d pixels |\n| texts | %d tokens |\n| features | %d |\n\n",
		m.NumParameters(), size[1], size[0], m.ContextLength(), m.Dim())
	fmt.Fprintf(&b, "## Use\n\nWith goclip:\n\n```sh\ninfer score --model hf-hub:%s --text \"a dog\" --text \"a cat\" photo.jpg\n```\n\n", c.Repo)
	if library == "open_clip" {
		fmt.Fprintf(&b, "With open_clip:\n\n```python\nimport open_clip\n\nmodel, _, preprocess = open_clip.create_model_and_transforms(\"hf-hub:%s\")\ntokenizer = open_clip.get_tokenizer(\"hf-hub:%s\")\n```\n", c.Repo, c.Repo)
	} else {
		fmt.Fprintf(&b, "With transformers:\n\n```python\nfrom transformers import AutoModel, AutoProcessor\n\nmodel = AutoModel.from_pretrained(%q)\nprocessor = AutoProcessor.from_pretrained(%q)\n```\n", c.Repo, c.Repo)
	}
	return b.String()
}
