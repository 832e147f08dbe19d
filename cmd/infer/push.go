package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
)

type pushCmd struct {
	Dir     string `arg:"" help:"Model directory, in open_clip's or Hugging Face's layout." complete:"dirs"`
	Repo    string `arg:"" help:"Repository on the Hugging Face hub, ORG/NAME; created if it does not exist." complete:"none"`
	Private bool   `help:"Make a new repository private."`
	License string `help:"License in a new model card, such as apache-2.0 or mit." placeholder:"ID" complete:"none"`
	Message string `help:"Commit message." default:"Upload model" complete:"none"`
	Branch  string `help:"Branch to commit to." default:"main" complete:"none"`
	DryRun  bool   `help:"Send nothing; write the repository's files to --out."`
	Out     string `help:"With --dry-run: directory to write; it must not exist (default: the repository's NAME)." placeholder:"DIR" complete:"dirs"`
}

func (*pushCmd) Help() string {
	return `Examples:

  infer push logs/photos/checkpoints/latest my-org/photos-clip --license mit --private
  infer push vit-b-32 my-org/vit-b-32 --dry-run --out to-look-at

The write token comes from HF_TOKEN or "hf auth login". HF_ENDPOINT names another hub.`
}

// repositoryFiles are the files of a model directory that belong on the hub, in either layout. What
// else lies beside them, such as the state of a run, stays where it is.
var repositoryFiles = []string{
	clip.ConfigFile, clip.WeightsFile,
	"config.json", "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json", "preprocessor_config.json",
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
	"spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "LICENSE", cardFile,
}

const cardFile = "README.md"

// Run sends the files of a model, with a card, in one commit.
func (c *pushCmd) Run(ctx context.Context, s *streams) error {
	if err := pretrained.CheckRepo(c.Repo); err != nil {
		return usageError("push: " + strings.TrimPrefix(err.Error(), "pretrained: "))
	}
	if c.Out != "" && !c.DryRun {
		return usageError("push: --out goes with --dry-run")
	}
	if c.DryRun && c.Out == "" {
		c.Out = path.Base(c.Repo)
	}
	if c.DryRun {
		if err := mustBeNew("push", c.Out); err != nil {
			return err
		}
	}
	files, err := c.files(ctx, s)
	if err != nil {
		return err
	}
	if c.DryRun {
		return c.write(s, files)
	}
	at, err := pretrained.Push(ctx, c.Repo, files, &pretrained.PushOptions{Private: c.Private, Branch: c.Branch, Message: c.Message,
		Log: func(line string) { fmt.Fprintln(s.err, "infer:", line) }})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "infer: --model hf-hub:%s is this model from now on\n", c.Repo)
	_, err = fmt.Fprintln(s.out, at)
	return err
}

// files are those of the repository. The model is opened first: what cannot be opened here is not
// sent.
func (c *pushCmd) files(ctx context.Context, s *streams) (files []pretrained.PushFile, err error) {
	if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
		return nil, usageError(fmt.Sprintf("push: %s is not a directory; infer convert makes a model directory of weights", c.Dir))
	}
	flags := modelFlags{Model: c.Dir, computeFlags: computeFlags{Device: "cpu", Precision: "fp32", BatchSize: 1}}
	m, err := flags.open(ctx, s.err)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return nil, err
	}
	weights, card := false, []byte(nil)
	for _, e := range entries {
		at := filepath.Join(c.Dir, e.Name())
		info, err := os.Stat(at) // Hugging Face's cache has links
		if err != nil || !info.Mode().IsRegular() || !slices.ContainsFunc(repositoryFiles, func(pattern string) bool {
			match, _ := path.Match(pattern, e.Name())
			return match
		}) {
			continue
		}
		if e.Name() == cardFile {
			if card, err = os.ReadFile(at); err != nil {
				return nil, err
			}
			continue
		}
		weights = weights || strings.HasSuffix(e.Name(), ".safetensors")
		files = append(files, pretrained.PushFile{Name: e.Name(), Path: at})
	}
	if !weights {
		return nil, fmt.Errorf("push: %s has no .safetensors: infer convert writes them", c.Dir)
	}
	return append(files, pretrained.PushFile{Name: cardFile, Content: []byte(c.card(m, string(card)))}), nil
}

// write leaves the repository's files in a directory.
func (c *pushCmd) write(s *streams, files []pretrained.PushFile) error {
	err := writeModel(c.Out, func(dir string) error {
		for _, f := range files {
			if f.Path == "" {
				if err := os.WriteFile(filepath.Join(dir, f.Name), f.Content, 0o644); err != nil {
					return err
				}
			} else if err := copyInto(filepath.Join(dir, f.Name), f.Path); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	for _, f := range files {
		if _, err := fmt.Fprintln(s.out, filepath.Join(c.Out, f.Name)); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.err, "infer: nothing was sent; %s holds what %s would have\n", c.Out, c.Repo)
	return nil
}

// copyInto copies a file; weights, which nobody edits, by a link where the disk allows it.
func copyInto(to, from string) error {
	real, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if strings.HasSuffix(to, ".safetensors") && os.Link(real, to) == nil {
		return nil
	}
	in, err := os.Open(real)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(in)
	return errors.Join(err, out.Close())
}

// isThere reports whether dir holds a file of the name.
func isThere(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return !errors.Is(err, fs.ErrNotExist)
}

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
