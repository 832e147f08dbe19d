package clip

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/disk"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

// tryAllocate is allocate for a config from a file, which may ask for more than there is.
func tryAllocate(c *tower.Config) (m *Model, err error) {
	if torch.NoGrad(func(*torch.Scope) { m = allocate(c) }) != nil { // the allocator's refusal: nothing else can fail
		return nil, fmt.Errorf("clip: config: an image tower of width %d with %d layers and a text tower of width %d with %d do not fit into memory",
			c.Vision.Width, c.Vision.Depth(), c.Text.Width, c.Text.Layers)
	}
	return m, nil
}

// load reads the weights from o.Pretrained or, without one, from the model's own file; then those of single towers.
func (m *Model) load(name string, o OpenOptions, d description) error {
	if o.Pretrained == "random" || o.Pretrained == "" && d.weights == "" {
		if err := m.randomise(o.Seed); err != nil {
			return err
		}
	} else if d.file != nil {
		if err := m.loadTrained(d.file, d.weights, o); err != nil {
			return err
		}
	} else if err := m.loadFile(name, o, d.weights); err != nil {
		return err
	}
	for _, t := range []struct{ path, prefix string }{{o.ImageTower, "visual."}, {o.TextTower, "text."}} {
		if t.path == "" {
			continue
		}
		if err := m.loadTower(t.path, t.prefix, o); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) randomise(seed uint64) error {
	random, err := New(m.Config, seed)
	if err != nil {
		return err
	}
	m.Text, m.LogitScale, m.LogitBias, m.Visual, m.Decoder = random.Text, random.LogitScale, random.LogitBias, random.Visual, random.Decoder
	return nil
}

func (m *Model) loadFile(name string, o OpenOptions, own string) error {
	path := own
	if o.Pretrained != "" {
		path = o.Pretrained
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			if d, err := readDirectory(os.DirFS(path), path); err == nil && d.config.QuickGELU != m.Config.QuickGELU {
				return wrongGELU(path, d.config.QuickGELU)
			}
			path = WeightsIn(path)
		}
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		return fmt.Errorf("clip: %s: %w", name, err)
	}
	defer f.Close()
	return m.loadTrained(f, path, o)
}

// loadTrained reads the weights of an opened file, unless it says that they want the other GELU.
func (m *Model) loadTrained(f *checkpoint.File, path string, o OpenOptions) error {
	if quick, known := trainedQuickGELU(f); known && quick != m.Config.QuickGELU {
		return wrongGELU(path, quick)
	}
	m.Weights = path
	return m.loadFrom(f, path, o)
}

// trainedQuickGELU is what a file says of the GELU that its weights were trained with: shapes cannot tell, and the
// wrong one costs 2.7 points of ImageNet accuracy without a word. OpenAI's files are QuickGELU's.
func trainedQuickGELU(f *checkpoint.File) (quick, known bool) {
	if have, ok := f.Metadata()["quick_gelu"]; ok {
		return have == "true", true
	}
	openAI := isOpenAIs(f)
	return openAI, openAI
}

// isOpenAIs tells OpenAI's files by the resolution that they hold beside the weights.
func isOpenAIs(f *checkpoint.File) bool {
	_, ok := f.Entry("input_resolution")
	return ok
}

func wrongGELU(path string, quick bool) error {
	return fmt.Errorf("clip: %s was trained with quick_gelu=%v and the config says %v: choose the config with or without -quickgelu", path, quick, !quick)
}

// Load copies the weights of a file, or of a model directory, into the model: in open_clip's layout, OpenAI's or
// Hugging Face's, with the fix-ups that open_clip makes. Keys and shapes must agree both ways; the error lists every
// one that does not, and the model then keeps its weights.
func (m *Model) Load(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = WeightsIn(path)
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	defer f.Close()
	return m.loadFrom(f, path, OpenOptions{Copy: true})
}

func (m *Model) loadFrom(f *checkpoint.File, path string, o OpenOptions) error {
	for _, of := range f.Paths() {
		if err := disk.CheckBeside(filepath.Dir(of), filepath.Base(of)); err != nil {
			return fmt.Errorf("clip: %w", err)
		}
	}
	found, problems := m.weights(f)
	err := m.put(f, path, found, problems, o)
	m.trained = m.trained || err == nil
	return err
}

// CheckWeights says that a file that the model's weights are in, which without OpenOptions.Copy is
// mapped and not read, is no longer what it was when the model was opened: it was cut short or
// written into ([checkpoint.ErrChanged]), or cannot be read. The model must then be opened again. All
// that encodes checks it before and after; a server may ask at any time.
func (m *Model) CheckWeights() error {
	for _, l := range m.lent {
		if err := l.Err(); err != nil {
			return fmt.Errorf("clip: %s: %w; open the model again", m.Name, err)
		}
	}
	return nil
}

// Trained reports whether the model's weights were read, as of a file, and not drawn at random.
func (m *Model) Trained() bool { return m.trained }

// floats are the types that weights may have in a file.
var floats = []checkpoint.DType{checkpoint.F32, checkpoint.F16, checkpoint.BF16, checkpoint.F64}

// put compares the shapes of what was found and copies it, or fails with all problems and copies nothing.
func (m *Model) put(f *checkpoint.File, path string, found map[string]weight, problems []string, o OpenOptions) error {
	for key, p := range m.State() {
		w, ok := found[key]
		if !ok {
			continue
		}
		if w.zero {
			o.log("%s has no %s: zeros take its place", path, key)
			continue
		}
		if d := w.parts[0].DType; p.DType() != torch.Int64 && !slices.Contains(floats, d) {
			return fmt.Errorf("clip: %s: %s holds numbers of the type %s, as a quantized model does; weights must be float32, float16, bfloat16 or float64", path, key, d)
		}
		fitted, done := m.fitPositions(key, w, p)
		if done != "" {
			found[key] = fitted
			o.log("%s: %s", path, done)
		} else if !w.fits(p.Shape()) {
			problems = append(problems, fmt.Sprintf("%s has the shape %v, the model needs %v", key, w.shape(), p.Shape()))
		}
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return fmt.Errorf("clip: %s does not fit the model: %s", path, strings.Join(slices.Compact(problems), "; "))
	}
	var failed error
	err := torch.NoGrad(func(*torch.Scope) { // once, and not for each tensor
		for key, p := range m.State() {
			if w, ok := found[key]; ok && failed == nil {
				failed = w.fill(f, p, !o.Copy)
			}
		}
	})
	if err := cmp.Or(failed, err); err != nil {
		return fmt.Errorf("clip: %s: %w", path, err)
	}
	if lent := f.Lent(); lent != nil {
		m.lent = append(m.lent, lent)
	}
	if err := f.Err(); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return nil
}

// To moves the model to a device, before its weights are packed and before anybody encodes with it.
func (m *Model) To(d torch.Device) error {
	if d == (torch.Device{}) || d == torch.CPU {
		return nil
	}
	if err := torch.NoGrad(func(s *torch.Scope) {
		for _, p := range m.State() {
			p.Set(s.Alias(p).To(d, p.DType()))
		}
	}); err != nil {
		return err
	}
	defer func() { m.lent = nil }() // nothing of the files is used any more
	return m.CheckWeights()
}

// Cast converts the weights to a type, float32 or on a GPU bfloat16 or float16, for half the memory; images
// and all that the towers compute have it too, but for sums. The temperature and the bias stay float32: bfloat16 knows no number between
// 4.59 and 4.625, which are 98.9 and 102 as factors. So do batch normalisations, beside their statistics.
func (m *Model) Cast(dtype torch.DType) error {
	statistics := map[string]bool{}
	for key := range m.State() {
		if stem, ok := strings.CutSuffix(key, "running_mean"); ok {
			statistics[stem] = true
		}
	}
	return torch.NoGrad(func(s *torch.Scope) {
		for key, p := range m.Parameters() {
			stem := key[:strings.LastIndexByte(key, '.')+1]
			if key != "logit_scale" && key != "logit_bias" && !statistics[stem] {
				p.Set(s.Alias(p).To(p.Device(), dtype))
			}
		}
	})
}
