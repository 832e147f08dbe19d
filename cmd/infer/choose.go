package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"unicode"

	"golang.org/x/term"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/models"
)

// The models that are offered where none is on the machine: small enough for any, and known to many.
const (
	offered      = "ViT-B-32:laion2b_s34b_b79k"
	offeredBytes = 605_219_813
	multilingual = "xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k"
)

// modelVariable names the model of all commands without --model.
const modelVariable = "GOCLIP_MODEL"

// openFor opens the model for people's images.
func (f *modelFlags) openFor(ctx context.Context, io *streams, pictures []string) (*clip.Model, error) {
	if err := f.choose(ctx, io, pictures); err != nil {
		return nil, err
	}
	return f.open(ctx, io.err)
}

// choose names the model where no flag does: that of GOCLIP_MODEL, else the best that was fetched, else
// the built-in one, which knows emoji: for photographs it offers, or says how, to fetch another.
func (f *modelFlags) choose(ctx context.Context, io *streams, pictures []string) error {
	if f.Model != "" || f.Pretrained != "" || f.loadFlags != (loadFlags{}) {
		return nil
	}
	if f.Model = os.Getenv(modelVariable); f.Model != "" {
		fmt.Fprintf(io.err, "infer: the model is %s, by %s\n", f.Model, modelVariable)
		return nil
	}
	list, err := pretrained.Downloads(ctx, pretrained.Options{})
	if err != nil {
		return err
	}
	if best, ok := pretrained.Best(list); ok {
		f.Model = best.Name.String()
		fmt.Fprintf(io.err, "infer: the model is %s, the best for photographs on this machine; --model names another\n", f.Model)
		return nil
	}
	f.Model = models.Default
	if !photographs(ctx, pictures) {
		return ctx.Err()
	}
	wanted, err := offer(io)
	switch {
	case wanted:
		f.Model = offered // which opening it fetches
	case err == nil:
		fmt.Fprintln(io.err, "infer: "+emojiOnly)
	}
	return err
}

// clipVocabulary is the number of tokens of CLIP's own tokenizer.
const clipVocabulary = 49408

const emojiOnly = "these are photographs, and the built-in model emoji-64 knows emoji: what it says of them means little; infer pull " + offered + " fetches one that knows photographs (605.2 MB)"

// offer asks on a terminal whether a model is to be fetched: one key, and no by default.
func offer(io *streams) (bool, error) {
	in, ok := io.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || !onTerminal(io.err) {
		return false, nil
	}
	question := fmt.Sprintf("infer: these are photographs, and the built-in model knows emoji. Fetch %s (%s)? [y/N] ", offered, bytesText(offeredBytes))
	key, err := askKey(in, io.err, question)
	fmt.Fprintln(io.err)
	return key == 'y' || key == 'Y', err
}

// askKey asks a question and reads one key, without waiting for the end of a line. The terminal
// changes over before the question is asked: a key pressed before that would wait for a line's end.
func askKey(in *os.File, out io.Writer, question string) (byte, error) {
	former, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return 0, err
	}
	defer func() { _ = term.Restore(int(in.Fd()), former) }()
	fmt.Fprint(out, question)
	var key [1]byte
	if _, err := in.Read(key[:]); err != nil && err != io.EOF {
		return 0, err
	}
	if key[0] == 3 { // Ctrl-C, which raw mode hands over
		return 0, context.Canceled
	}
	return key[0], nil
}

// as takes an index's model.
func (f *modelFlags) as(known index.Model) {
	f.Model, f.Pretrained, f.Seed = known.Name, known.Pretrained, known.Seed
	f.loadFlags = loadFlags{ForceImageSize: known.ImageSize, ForceContextLength: known.ContextLength, ForceQuickGELU: known.QuickGELU,
		PretrainedImage: known.ImageTower, PretrainedText: known.TextTower}
}

// warnLanguage says once that a text is in a language that the model was not trained on. Published
// models with CLIP's own vocabulary were trained on captions in English; a script shows that a text
// is not.
func warnLanguage(m *clip.Model, texts []string, errs io.Writer) {
	n, err := pretrained.ParseName(m.Name, tower.ConfigNames())
	published := m.Name == models.Default || err == nil && (n.Tag != "" || n.Config != "" && m.Options.Pretrained != "")
	if !published || m.Config.Text.HFModelName != "" || m.Config.Text.VocabSize != clipVocabulary {
		return
	}
	for _, text := range texts {
		if script := foreignScript(text); script != "" {
			fmt.Fprintf(errs, "infer: %q is written in %s, and %s was trained on English; infer pull %s fetches a model of a hundred languages\n", text, script, m.Name, multilingual)
			return
		}
	}
}

// foreignScript names the script of a text's letters where at least half are not Latin; else "".
func foreignScript(text string) string {
	letters, foreign, name := 0, 0, ""
	for _, c := range text {
		if !unicode.IsLetter(c) {
			continue
		}
		letters++
		for _, s := range scripts {
			if unicode.Is(s.table, c) {
				foreign, name = foreign+1, s.name
			}
		}
	}
	if 2*foreign < letters || foreign == 0 {
		return ""
	}
	return name
}

var scripts = []struct {
	table *unicode.RangeTable
	name  string
}{
	{unicode.Hangul, "Hangul"}, {unicode.Han, "Chinese characters"}, {unicode.Hiragana, "Japanese"}, {unicode.Katakana, "Japanese"},
	{unicode.Cyrillic, "Cyrillic"}, {unicode.Arabic, "Arabic"}, {unicode.Hebrew, "Hebrew"}, {unicode.Greek, "Greek"},
	{unicode.Devanagari, "Devanagari"}, {unicode.Thai, "Thai"},
}

// sampled is how many images of a list are looked at to tell what it holds.
const sampled = 8

// photographs reports whether most images of a list are photographs. A few are looked at, spread over
// the list; those that cannot be read do not count.
func photographs(ctx context.Context, paths []string) bool {
	n, yes, readable := min(sampled, len(paths)), 0, 0
	for i := range n {
		is, ok := photograph(ctx, paths[i*len(paths)/n])
		if ok {
			readable++
		}
		if is {
			yes++
		}
	}
	return 2*yes > readable
}

// An image without a camera's data is a photograph by its size and colours. Of fifteen photographs of
// scikit-image, scikit-learn and SciPy the nine large ones in colour pass; of twelve drawings, plots
// and images of screens, and of the emoji, none does (flat at least 0.55, or too small).
const (
	photographSide    = 200 // pixels of the shorter side, at least
	photographColours = 512 // of 32,768 that are distinguished, at least
	photographFlat    = 0.5 // of the pixels equal their left neighbour, at most
)

// photograph looks at one image; ok says that it could be read.
func photograph(ctx context.Context, path string) (is, ok bool) {
	data, err := preprocess.ReadFile(ctx, path, preprocess.DefaultLimits)
	if err != nil {
		return false, false
	}
	kind := preprocess.KindOf(data[:min(len(data), 512)], path)
	header, err := preprocess.ReadHeader(data, preprocess.Limits{})
	switch {
	case err != nil:
		return false, false
	case kind.Name == "RAW", kind.Name == "HEIC", !index.Taken(path).IsZero():
		return true, true
	case min(header.Width, header.Height) < photographSide:
		return false, true
	}
	img, err := preprocess.Decode(ctx, data, preprocess.Limits{JPEGScale: 2})
	if err != nil {
		return false, false
	}
	return looksTaken(img), true
}

// looksTaken judges by the pixels: a drawing has few colours and large flat parts.
func looksTaken(img *preprocess.Image) bool {
	switch img.Mode {
	case preprocess.ModeRGBA, preprocess.ModeLA, preprocess.ModeP: // no camera's
		return false
	}
	pix := img.RGB().Pix
	var seen [1 << 15]bool
	colours, flat := 0, 0
	for i := 0; i < len(pix); i += 3 {
		p := pix[i : i+3 : i+3]
		c := int(p[0]>>3)<<10 | int(p[1]>>3)<<5 | int(p[2]>>3)
		if !seen[c] {
			seen[c] = true
			colours++
		}
		if i%(3*img.Width) != 0 && [3]byte(p) == [3]byte(pix[i-3:]) {
			flat++
		}
	}
	return colours >= photographColours && float64(flat) <= photographFlat*float64(len(pix)/3)
}
