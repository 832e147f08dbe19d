package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/train/data"
	"github.com/goclip/goclip/train/evaluate"
)

type classifyCmd struct {
	modelFlags
	orientFlag
	framesFlag
	skipFlags
	Label          []string `help:"Name of a class; repeat it for more." sep:"none" complete:"none" group:"Classes"`
	Labels         string   `help:"File with one class name per line, or - for stdin." placeholder:"FILE" group:"Classes"`
	LabelsFromDirs bool     `help:"Take the folders in PATH as the classes of their images; print accuracy and a confusion matrix." group:"Classes"`
	Template       []string `help:"Prompt with {} for the class name, openai_imagenet_80, openai_imagenet_7, or a file with one template per line; repeat it to average several (default: openai_imagenet_80)." sep:"none" complete:"templates" group:"Classes"`
	NoCache        bool     `help:"Do not cache the embeddings of the prompts." group:"Classes"`

	Top    int    `help:"Classes to print for each image, the most probable first." default:"3"`
	Format string `help:"table, json or csv." default:"table" enum:"table,json,csv"`
	HTML   string `name:"html" help:"Write an HTML page with thumbnails." placeholder:"FILE"`

	SortInto string `help:"Put a symbolic link to each image into DIR/CLASS. Existing files are never replaced." placeholder:"DIR" group:"Sorting"`
	Copy     bool   `help:"Copy the images instead of linking." group:"Sorting"`
	DryRun   bool   `help:"Print where --sort-into would put the images, and write nothing." group:"Sorting"`

	Paths []string `arg:"" optional:"" name:"path" help:"Images and directories; directories are searched recursively, hidden files are skipped."`
}

// Help returns what infer classify --help says beyond the flags.
func (c *classifyCmd) Help() string {
	return `Examples:

  infer classify --label dog --label cat photos
  infer classify --labels things.txt --template 'a photo of a {}.' --sort-into sorted photos
  infer classify --labels-from-dirs --html report.html held-out`
}

// classification is the JSON that classify prints.
type classification struct {
	Model      string       `json:"model"`
	LogitScale float64      `json:"logit_scale"`
	Labels     []string     `json:"labels"`
	Templates  []string     `json:"templates"`
	Images     []imageClass `json:"images"`
	Accuracy   *accuracy    `json:"accuracy,omitempty"` // with --labels-from-dirs

	Skipped map[string]int `json:"skipped,omitempty"` // files of directories that are no images, by kind

	confusion *clip.Confusion
}

type imageClass struct {
	Path   fileName     `json:"path"`
	Truth  string       `json:"truth,omitempty"` // with --labels-from-dirs
	Top    []prediction `json:"top,omitempty"`
	Sorted fileName     `json:"sorted,omitempty"` // with --sort-into
	Error  string       `json:"error,omitempty"`
}

type prediction struct {
	Label  string  `json:"label"`
	Cosine float64 `json:"cosine"` // with the mean of the class's prompts
	Prob   float64 `json:"prob"`   // softmax over the labels of logit_scale * cosine
}

// accuracy is of the images that could be read.
type accuracy struct {
	Images       int         `json:"images"`
	Top1         float64     `json:"top1"`
	Top5         float64     `json:"top5"`
	MeanPerClass float64     `json:"mean_per_class"`
	Confusion    []confusion `json:"confusion"` // the counts that are not zero
}

type confusion struct {
	Truth string `json:"truth"`
	Label string `json:"label"`
	Count int    `json:"count"`
}

// imageSet is what is to be classified: the paths, and of each its class where that is known.
type imageSet struct {
	paths []string
	truth []int // nil: not known
}

func (c *classifyCmd) Run(ctx context.Context, io *streams) error {
	if err := errors.Join(c.check(), c.framesFlag.check(io.err)); err != nil {
		return err
	}
	skipped := skips{verbose: c.Verbose, errs: io.err}
	set, labels, err := c.classes(ctx, io, &skipped)
	if err != nil {
		return err
	}
	templates, err := c.templates()
	if err != nil {
		return err
	}
	m, err := c.openFor(ctx, io, set.paths)
	if err != nil {
		return err
	}
	if _, err := packOnAMX(m, len(set.paths), io.err); err != nil {
		return err
	}
	warnLanguage(m, labels, io.err)
	out, err := c.classify(ctx, io, m, set, labels, templates)
	if err != nil {
		return err
	}
	out.Skipped = skipped.kinds
	failed := skipped.problems > 0 || out.unreadable() > 0
	if c.SortInto != "" {
		unsorted, err := c.sort(ctx, io, out)
		if err != nil {
			return err
		}
		failed = failed || unsorted
	}
	if c.HTML != "" {
		if err := out.writePage(ctx, c.HTML, io.err); err != nil {
			return err
		}
	}
	if err := out.print(io.out, c.Format); err != nil {
		return err
	}
	if len(labels) == 1 && c.Format == "table" {
		fmt.Fprintln(io.err, "infer: one label alone gives a cosine; a probability needs two to compare, such as --label \"something else\"")
	}
	skipped.tell(out.unreadable())
	if failed {
		return errReported
	}
	return nil
}

// unreadable counts the images that could not be read.
func (c *classification) unreadable() (n int) {
	for _, image := range c.Images {
		if image.Error != "" {
			n++
		}
	}
	return n
}

// check finds what is wrong with the command line before anything is read.
func (c *classifyCmd) check() error {
	named := len(c.Label) > 0 || c.Labels != ""
	switch {
	case !named && !c.LabelsFromDirs:
		return usageError("classify: no class: give --label NAME, --labels FILE or --labels-from-dirs; infer classify --help lists the flags")
	case named && c.LabelsFromDirs:
		return usageError("classify: --labels-from-dirs takes the classes from the folders: it goes without --label and --labels")
	case len(c.Paths) == 0:
		return usageError("classify: no image: give the PATH of images or of directories")
	case c.LabelsFromDirs && len(c.Paths) != 1:
		return usageError("classify: --labels-from-dirs takes one PATH, the directory with a folder for each class")
	case c.Top < 1:
		return usageError(fmt.Sprintf("classify: --top %d: must be 1 or more", c.Top))
	case c.Frames > 0 && (c.SortInto != "" || c.LabelsFromDirs):
		return usageError("classify: --frames goes without --sort-into and --labels-from-dirs: a frame is no file")
	case c.SortInto == "" && (c.Copy || c.DryRun):
		return usageError("classify: --copy and --dry-run go with --sort-into DIR")
	}
	return nil
}

// classes are the names of the classes and the images.
func (c *classifyCmd) classes(ctx context.Context, io *streams, skipped *skips) (set imageSet, labels []string, err error) {
	if c.LabelsFromDirs {
		folders, err := data.OpenFolders(ctx, c.Paths[0])
		if err != nil {
			return set, nil, err
		}
		for i := range folders.Len() {
			set.paths, set.truth = append(set.paths, folders.Key(i)), append(set.truth, folders.Class(i))
		}
		if labels, err = evaluate.ClassNames(folders.Classes()); err != nil {
			return set, nil, fmt.Errorf("%s: %w", c.Paths[0], err)
		}
		return set, labels, nil
	}
	labels = c.Label
	if c.Labels != "" {
		list, err := readLines("--labels", c.Labels, io.in, io.err)
		if err != nil {
			return set, nil, err
		}
		labels = append(labels, list...)
	}
	seen := map[string]bool{}
	for _, label := range labels {
		if strings.TrimSpace(label) == "" {
			return set, nil, errors.New("classify: a class has an empty name")
		}
		if seen[label] {
			return set, nil, fmt.Errorf("classify: the class %q is given twice", label)
		}
		seen[label] = true
	}
	set.paths, err = c.walk(ctx, skipped)
	return set, labels, err
}

// walk lists the images. What --sort-into put there before is left out.
func (c *classifyCmd) walk(ctx context.Context, skipped *skips) (paths []string, err error) {
	sorted := ""
	if c.SortInto != "" {
		if sorted, err = filepath.Abs(c.SortInto); err != nil {
			return nil, fmt.Errorf("--sort-into: %w", err)
		}
	}
	return listImages(ctx, c.Paths, c.framesFlag, skipped, func(picture string) bool {
		abs, err := filepath.Abs(picture)
		return err != nil || sorted == "" || !strings.HasPrefix(abs, sorted+string(filepath.Separator))
	})
}

func (c *classifyCmd) templates() (all []string, err error) {
	if len(c.Template) == 0 {
		return clip.Templates(clip.ImageNet80)
	}
	for _, spec := range c.Template {
		list, err := clip.Templates(spec)
		if err != nil {
			return nil, fmt.Errorf("--template: %s", strings.TrimPrefix(err.Error(), "clip: "))
		}
		all = append(all, list...)
	}
	return all, nil
}

func (c *classifyCmd) classify(ctx context.Context, io *streams, m *clip.Model, set imageSet, labels, templates []string) (*classification, error) {
	cache := clip.ClassifierCache{Log: func(message string) { fmt.Fprintln(io.err, "infer:", message) }}
	if dir := pretrained.CacheDir(); dir != "" && !c.NoCache {
		cache.Dir = filepath.Join(dir, "classifiers")
	}
	z, _, err := cache.Classifier(ctx, m, labels, templates)
	if err != nil {
		return nil, err
	}
	out := &classification{Model: m.Name, LogitScale: z.Scale, Labels: labels, Templates: templates, Images: make([]imageClass, 0, len(set.paths))}
	if set.truth != nil {
		out.confusion = clip.NewConfusion(len(labels))
	}
	for row, err := range (clip.Encoder{Model: m, BatchSize: c.BatchSize, Orient: !c.NoOrient}).Images(ctx, clip.FromFiles(set.paths...)) {
		if err != nil && !errors.As(err, new(*clip.ImageError)) {
			return nil, err
		}
		image := imageClass{Path: fileName(set.paths[len(out.Images)])}
		if set.truth != nil {
			image.Truth = labels[set.truth[len(out.Images)]]
		}
		if err != nil {
			image.Error = err.Error()
			fmt.Fprintln(io.err, message(err))
			out.Images = append(out.Images, image)
			continue
		}
		predictions, err := z.Top([][]float32{row}, max(c.Top, 5))
		if err != nil {
			return nil, err
		}
		if set.truth != nil {
			out.confusion.Add(set.truth[len(out.Images)], predictions[0])
		}
		for _, g := range predictions[0][:min(c.Top, len(predictions[0]))] {
			image.Top = append(image.Top, prediction{labels[g.Class], clip.Cosine(row, z.Weights[g.Class]), float64(g.Probability)})
		}
		out.Images = append(out.Images, image)
	}
	if n := out.confusion; n != nil && n.N > 0 {
		out.Accuracy = &accuracy{Images: n.N, Top1: n.Top1(), Top5: n.Top5(), MeanPerClass: n.MeanPerClass()}
		for pair, count := range n.Counts() {
			out.Accuracy.Confusion = append(out.Accuracy.Confusion, confusion{labels[pair[0]], labels[pair[1]], count})
		}
	}
	return out, nil
}
