package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch/distributed"
)

const (
	defaultPartSize = 10_000
	maxPartSize     = 1 << 24

	// captionsAtOnce are encoded together: enough to sort by length, few enough for any part's memory.
	captionsAtOnce = 4096
)

// partKinds are the directories of parts, which are the beginnings of their files' names too, and
// the files' endings. Names and layout are clip-retrieval's (clip_inference/writer.py), but for
// errors.
var partKinds = map[string]string{"img_emb": ".npy", "text_emb": ".npy", "metadata": ".parquet", "errors": ".jsonl"}

// partRun writes the parts of one process.
type partRun struct {
	dir              string
	fsys             disk.FS
	m                *clip.Model
	batch            int
	raw, orient      bool
	pictures, texts  bool // what is embedded
	parts            []part
	world            distributed.World
	errs             io.Writer
	there            map[string]bool     // the names of files in the directories of parts as the run began
	begun            map[string][]string // the temporary files that a stopped run left, by the name they were to have
	written, skipped int                 // parts
	unopened         int                 // parts whose shard could not be read
	bad              bool                // a part has images that could not be read
	cut              int                 // captions longer than the context
}

func (c *embedCmd) runParts(ctx context.Context, io *streams, world distributed.World, images, texts []string) error {
	size := c.PartSize
	if size == 0 {
		size = defaultPartSize
	}
	plan := newPlan(size)
	plan.add(pathList(images))
	plan.add(textList(texts))
	if c.Data != "" {
		if err := plan.addData(ctx, &c.dataFlags, io.err); err != nil {
			return err
		}
	}
	former, _, err := readManifest(c.Out)
	if err != nil {
		return err
	}
	if err := c.choose(ctx, io, images); err != nil {
		return err
	}
	m, id, err := c.identify(ctx, io.err, former.Model.Files)
	if err != nil {
		return err
	}
	id.Orient = !c.NoOrient
	warnLanguage(m, texts, io.err)
	if err := packImages(m, math.MaxInt, io.err); err != nil { // always: a part's bytes must not depend on which run makes it
		return err
	}
	r := &partRun{dir: c.Out, fsys: disk.Machine{}, m: m, batch: c.BatchSize, raw: c.Raw, orient: id.Orient, pictures: len(texts) == 0, texts: len(texts) > 0 || c.Captions,
		parts: plan.parts, world: world, errs: io.err}
	return r.run(ctx, manifest{Model: id, Precision: m.Options.Precision.String(), Raw: c.Raw, PlainText: c.PlainText && r.texts, Captions: c.Captions, PartSize: size, Parts: len(plan.parts), Inputs: plan.inputs()})
}

// run does the parts of this process that do not stand complete.
func (r *partRun) run(ctx context.Context, m manifest) error {
	if err := r.claim(m); err != nil {
		return err
	}
	var mine []int
	for number := r.world.Rank; number < len(r.parts); number += r.world.Size {
		if r.complete(number) {
			r.skipped++
			r.bad = r.bad || r.there[r.name("errors", number)]
		} else {
			mine = append(mine, number)
		}
	}
	unit := "images"
	if !r.pictures {
		unit = "texts"
	}
	show := newProgress(r.errs, unit, r.expected(mine))
	defer show.close()
	for _, number := range mine {
		in, err := r.parts[number].open(ctx)
		if err != nil && ctx.Err() == nil {
			r.unopened++
			show.line(message(err))
			continue
		}
		if err == nil {
			r.parts[number].n = in.Len()
			show.expect(r.expected(mine))
			if text := leftOut(r.parts[number].name, in); text != "" {
				show.line(text)
			}
			err = r.write(ctx, number, in, show)
		}
		if err != nil && ctx.Err() != nil {
			return interrupted(fmt.Sprintf("interrupted; %d of %d parts are complete, and the same command resumes there", r.skipped+r.written, r.skipped+len(mine)))
		}
		if err != nil {
			return err
		}
		r.written++
	}
	show.close()
	fmt.Fprintf(r.errs, "infer: %s: %s\n", r.dir, r.summary(show))
	if r.bad || r.unopened > 0 {
		return errReported
	}
	return nil
}

// claim makes the directories, if they are not those of another run.
func (r *partRun) claim(m manifest) error {
	if err := disk.MkdirAll(r.fsys, r.dir); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if err := m.claim(r.fsys, r.dir); err != nil {
		return err
	}
	for _, kind := range append(r.kinds(), "errors") {
		if err := disk.MkdirAll(r.fsys, filepath.Join(r.dir, kind)); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	return r.look()
}

func (r *partRun) summary(show *progress) string {
	text := fmt.Sprintf("%d %s in %s", show.n-show.bad, show.unit, numberOf(r.written, "part"))
	if r.skipped > 0 {
		text += fmt.Sprintf(", %s complete before", numberOf(r.skipped, "part"))
	}
	if show.bad > 0 {
		text += fmt.Sprintf(", %s (errors/)", show.unread())
	}
	if r.unopened > 0 {
		text += fmt.Sprintf(", %s could not be read, which the same command tries again", numberOf(r.unopened, "part"))
	}
	if r.cut > 0 {
		text += fmt.Sprintf(", %s cut at the model's %d tokens", numberOf(r.cut, "text"), r.m.ContextLength())
	}
	if show.n > 0 && time.Since(show.began) > time.Second { // less tells of no rate
		text += fmt.Sprintf("; %.0f %s a second", show.rate(), show.unit)
	}
	return text
}

// numberOf is "1 part" or "2 parts".
func numberOf(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// expected is how many inputs the parts have. What is in a shard is known once it is open: the
// others are taken to be like those that are.
func (r *partRun) expected(parts []int) int {
	known, open := 0, 0
	for _, number := range parts {
		if n := r.parts[number].n; n >= 0 {
			known += n
			open++
		}
	}
	if open > 0 {
		known += (len(parts) - open) * known / open
	}
	return max(known, 1)
}

// kinds are those of a part's files, but for errors. The last one stands when the part is complete.
func (r *partRun) kinds() (kinds []string) {
	if r.pictures {
		kinds = append(kinds, "img_emb")
	}
	if r.texts {
		kinds = append(kinds, "text_emb")
	}
	return append(kinds, "metadata")
}

// name is that of a part's file. Numbers have the same width, since readers go by the order of the
// names.
func (r *partRun) name(kind string, number int) string {
	width := max(4, len(fmt.Sprint(len(r.parts)-1)))
	return fmt.Sprintf("%s_%0*d%s", kind, width, number, partKinds[kind])
}

func (r *partRun) path(kind string, number int) string {
	return filepath.Join(r.dir, kind, r.name(kind, number))
}

// look notes which files there are, and removes a manifest that was not finished, if no other
// process may be at it.
func (r *partRun) look() error {
	r.there, r.begun = map[string]bool{}, map[string][]string{}
	for _, kind := range append(slices.Collect(maps.Keys(partKinds)), "") {
		dir := filepath.Join(r.dir, kind)
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("--out: %w", err)
		}
		for _, e := range entries {
			r.there[e.Name()] = true
			if name, ok := nameOfTemporary(e.Name()); ok {
				r.begun[name] = append(r.begun[name], filepath.Join(dir, e.Name()))
			}
		}
	}
	if r.world.Size > 1 {
		return nil
	}
	for _, path := range r.begun[manifestFile] {
		if err := r.fsys.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

func (r *partRun) complete(number int) bool {
	return !slices.ContainsFunc(r.kinds(), func(kind string) bool { return !r.there[r.name(kind, number)] })
}

// clear removes what a stopped run has left of a part.
func (r *partRun) clear(number int) error {
	for kind := range partKinds {
		name, dir := r.name(kind, number), filepath.Join(r.dir, kind)
		left := r.begun[name]
		if r.there[name] {
			left = append(left, filepath.Join(dir, name))
		}
		for _, path := range left {
			if err := r.fsys.RemoveAll(path); err != nil {
				return err
			}
		}
		if len(left) > 0 {
			if err := r.fsys.SyncDir(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// manifestFile says of a directory of parts what they are made of and with what.
const manifestFile = "embed.json"

type manifest struct {
	Model     index.Model `json:"model"`
	Precision string      `json:"precision"`
	Raw       bool        `json:"raw"`
	PlainText bool        `json:"plain_text,omitempty"`
	Captions  bool        `json:"captions"`
	PartSize  int         `json:"part_size"`
	Parts     int         `json:"parts"`
	Inputs    string      `json:"inputs"` // SHA-256 of names and captions; of a shard's name, size and keys
}

// readManifest is that of dir; there is none in a new one.
func readManifest(dir string) (m manifest, found bool, err error) {
	path := filepath.Join(dir, manifestFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return m, false, fmt.Errorf("%s does not tell what the parts are: %w; take another --out", path, err)
	}
	return m, true, nil
}

// claim makes dir the directory of these parts, or finds that it is. Of several processes that
// begin at once each writes the same.
func (m manifest) claim(fsys disk.FS, dir string) error {
	there, found, err := readManifest(dir)
	if err == nil && !found {
		err = disk.WriteFile(fsys, filepath.Join(dir, manifestFile), func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			return e.Encode(m)
		})
		if err == nil {
			there, _, err = readManifest(dir)
		}
	}
	if err != nil {
		return err
	}
	if what := there.differs(m); what != "" {
		return fmt.Errorf("%s holds parts of another run: %s; take another --out, or the same inputs and flags to resume", dir, what)
	}
	return nil
}

// differs says how the other run differs from m; "" if it can resume m's parts.
func (m manifest) differs(other manifest) string {
	if what := m.Model.Differs(other.Model); what != "" {
		return fmt.Sprintf("of the model %s: %s", m.Model.Name, what)
	}
	for _, flag := range []struct {
		name      string
		mine, its any
	}{{"--no-orient", !m.Model.Orient, !other.Model.Orient}, {"--precision", m.Precision, other.Precision}, {"--raw", m.Raw, other.Raw}, {"--plain-text", m.PlainText, other.PlainText}, {"--captions", m.Captions, other.Captions}, {"--part-size", m.PartSize, other.PartSize}} {
		if flag.mine != flag.its {
			return fmt.Sprintf("it has %s %v, this one %v", flag.name, flag.mine, flag.its)
		}
	}
	if m.Inputs != other.Inputs || m.Parts != other.Parts {
		return "its inputs are others, or in another order"
	}
	return ""
}
