package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
)

type embedCmd struct {
	modelFlags
	orientFlag
	framesFlag
	skipFlags
	Images    []string `help:"Images and directories; directories are searched recursively, hidden files are skipped." sep:"none" placeholder:"PATH"`
	ImageList string   `help:"File with one image path per line, or - for stdin." placeholder:"FILE"`
	Null      bool     `short:"0" help:"Paths in --image-list end with a zero byte, as from find -print0."`
	Texts     string   `help:"File with one text per line, or - for stdin; blank lines count as rows." placeholder:"FILE"`
	dataFlags `group:"Tables and shards"`
	Out       string `help:"Directory to write the files into." required:"" placeholder:"DIR" complete:"dirs"`
	Raw       bool   `help:"Do not L2-normalise the embeddings."`
	PartSize  int    `help:"Write parts of this many inputs, each with a Parquet file: a stopped run resumes after the last complete part. (default: ${partSize} with --data or several processes, otherwise one file)." placeholder:"N" group:"Parts"`
	Rank      *int   `help:"With --world: number of this process, from 0. It computes every WORLD-th part." placeholder:"R" group:"Parts"`
	World     *int   `help:"Number of processes (default of both: from torchrun or srun)." placeholder:"N" group:"Parts"`

	Paths []string `arg:"" optional:"" name:"path" help:"More images and directories."`
}

// Help returns what infer embed --help says beyond the flags.
func (c *embedCmd) Help() string {
	return `Examples:

  infer embed --images photos/*.jpg --out features           image_features.npy, images.jsonl
  infer embed photos --part-size 10000 --out parts           img_emb/, metadata/; the same command resumes
  infer embed --data 'laion/{00000..00099}.tar' --captions --out parts
  infer embed --data photos.csv --csv-separator , --out parts
  find / -name '*.jpg' -print0 | infer embed --image-list - -0 --part-size 10000 --out parts
  infer embed --data 'laion/{00000..00099}.tar' --rank 0 --world 4 --out /shared/parts    the first of four machines`
}

func (c *embedCmd) Run(ctx context.Context, io *streams) error {
	world, err := c.check()
	if err = errors.Join(err, c.framesFlag.check(io.err)); err != nil {
		return err
	}
	skipped := skips{verbose: c.Verbose, errs: io.err}
	images, texts, err := c.listed(ctx, io.in, &skipped)
	if err != nil {
		return err
	}
	if c.parts(world) {
		err := c.runParts(ctx, io, world, images, texts)
		skipped.tell(0)
		if err == nil && skipped.problems > 0 {
			err = errReported
		}
		return err
	}
	m, err := c.openFor(ctx, io, images)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if err := packImages(m, len(images), io.err); err != nil {
		return err
	}
	var files outputs
	defer files.discard()
	if len(texts) > 0 {
		if err := c.texts(ctx, m, texts, &files, io.err); err != nil {
			return err
		}
	}
	failed := 0
	if len(images) > 0 {
		if failed, err = c.images(ctx, m, images, &files, io.err); err != nil {
			return err
		}
	}
	if err := files.commit(); err != nil {
		return err
	}
	skipped.tell(failed)
	if failed+skipped.problems > 0 {
		return errReported
	}
	return nil
}

// check finds what is wrong with the command line before anything is read, and this process's place
// among those that share the work.
func (c *embedCmd) check() (world distributed.World, err error) {
	switch {
	case c.ImageList == "-" && c.Texts == "-":
		return world, usageError("embed: --image-list and --texts cannot both be stdin")
	case len(c.Images)+len(c.Paths) == 0 && c.ImageList == "" && c.Texts == "" && c.Data == "":
		return world, usageError("embed: nothing to embed: give --images, --image-list, --data or --texts")
	case c.Captions && c.Data == "":
		return world, usageError("embed: --captions are those of --data")
	case c.PartSize < 0 || c.PartSize > maxPartSize:
		return world, usageError(fmt.Sprintf("embed: --part-size %d: must be between 1 and %d", c.PartSize, maxPartSize))
	}
	if world, err = c.place(); err != nil {
		return world, err
	}
	if c.Texts != "" && c.parts(world) && (c.Data != "" || c.ImageList != "" || len(c.Images)+len(c.Paths) > 0) {
		return world, usageError("embed: parts hold images or --texts: each needs a run of its own, with another --out")
	}
	return world, nil
}

// place is this process among those that share the work, by its flags or by its environment, which
// tells its device, too.
func (c *embedCmd) place() (world distributed.World, err error) {
	if c.Rank != nil || c.World != nil {
		if c.Rank == nil || c.World == nil || *c.World < 1 || *c.Rank < 0 || *c.Rank >= *c.World {
			return world, usageError("embed: --rank R and --world N go together, R being 0 to N-1")
		}
		return distributed.World{Rank: *c.Rank, Size: *c.World, LocalSize: 1}, nil
	}
	if world, err = distributed.PlaceFromEnvironment(); err != nil || world.Size == 1 {
		return world, err
	}
	device, err := torch.ParseDevice(c.Device)
	if err == nil {
		c.Device, err = world.Device(c.Device, device)
	}
	if err != nil {
		return world, usageError(fmt.Sprintf("--device: %v", err))
	}
	if c.Threads == 0 && world.LocalSize > 1 {
		c.Threads = max(1, torch.NumThreads()/world.LocalSize)
	}
	return world, nil
}

// parts reports whether the files are written in parts. A plain run never has any, however much it
// embeds.
func (c *embedCmd) parts(world distributed.World) bool {
	return c.PartSize > 0 || c.Data != "" || world.Size > 1
}

// listed are the images and texts that the flags name, but for those of --data.
func (c *embedCmd) listed(ctx context.Context, in io.Reader, skipped *skips) (images, texts []string, err error) {
	if images, err = listImages(ctx, append(c.Images, c.Paths...), c.framesFlag, skipped, nil); err != nil {
		return nil, nil, err
	}
	if c.ImageList != "" {
		list, err := readNames("--image-list", c.ImageList, c.Null, in)
		if err != nil {
			return nil, nil, err
		}
		images = append(images, list...)
	}
	if c.Texts != "" {
		texts, err = readTexts("--texts", c.Texts, in)
	}
	return images, texts, err
}

func (c *embedCmd) texts(ctx context.Context, m *clip.Model, texts []string, files *outputs, errs io.Writer) error {
	npy := newNpy(disk.Machine{}, filepath.Join(c.Out, "text_features.npy"), m.Dim())
	list := newLines(disk.Machine{}, filepath.Join(c.Out, "texts.jsonl"))
	*files = append(*files, npy, list)
	i := 0
	e := clip.Encoder{Model: m, BatchSize: c.BatchSize, Raw: c.Raw, Cut: warnCut(m, errs)}
	warnLanguage(m, texts, errs)
	for row, err := range e.Texts(ctx, slices.Values(texts)) {
		if err == nil {
			npy.row(row)
			list.add(textLine{i, texts[i]})
			i++
			err = errors.Join(npy.failure(), list.failure())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// images counts the images that cannot be read.
func (c *embedCmd) images(ctx context.Context, m *clip.Model, paths []string, files *outputs, errs io.Writer) (failed int, err error) {
	npy := newNpy(disk.Machine{}, filepath.Join(c.Out, "image_features.npy"), m.Dim())
	list, unread := newLines(disk.Machine{}, filepath.Join(c.Out, "images.jsonl")), newLines(disk.Machine{}, filepath.Join(c.Out, "errors.jsonl"))
	*files = append(*files, npy, list, unread)
	show := newProgress(errs, "images", len(paths))
	defer show.close()
	for row, err := range (clip.Encoder{Model: m, BatchSize: c.BatchSize, Raw: c.Raw, Orient: !c.NoOrient}).Images(ctx, clip.FromFiles(paths...)) {
		if err != nil && !errors.As(err, new(*clip.ImageError)) {
			return 0, err
		}
		path := paths[show.n]
		show.add(err != nil)
		if err != nil {
			unread.add(unreadable(path, err))
			show.line(message(err))
		} else {
			list.add(imageLine{fileName(path), npy.rows})
			npy.row(row)
		}
		if err := errors.Join(npy.failure(), list.failure(), unread.failure()); err != nil {
			return 0, err
		}
	}
	return show.bad, nil
}

// textLine is a line of texts.jsonl, imageLine one of images.jsonl, unreadableLine one of errors.jsonl.
type (
	textLine struct {
		Row  int    `json:"row"`
		Text string `json:"text"`
	}
	imageLine struct {
		Path fileName `json:"path"`
		Row  int      `json:"row"`
	}
	unreadableLine struct {
		Error string   `json:"error"`
		Path  fileName `json:"path"`
	}
)

func unreadable(path string, err error) unreadableLine {
	return unreadableLine{err.Error(), fileName(path)}
}
