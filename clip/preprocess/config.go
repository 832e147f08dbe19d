package preprocess

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Interpolations and resize modes of open_clip's preprocess_cfg.
const (
	Bicubic  = "bicubic"
	Bilinear = "bilinear"
	Random   = "random" // open_clip's spelling for training; evaluation takes bicubic

	Shortest = "shortest" // shorter side to size, then centre crop
	Longest  = "longest"  // longer side to size, then padding with FillColor
	Squash   = "squash"   // both sides to size, the shape is not kept

	OrderOpenAI      = "openai"      // resize and crop in the file's own mode, then to RGB; also open_clip's
	OrderHuggingFace = "huggingface" // to RGB first; the crop's origin is rounded down
)

// OpenAI's mean and standard deviation of RGB values in [0, 1].
var (
	OpenAIMean = [3]float32{0.48145466, 0.4578275, 0.40821073}
	OpenAIStd  = [3]float32{0.26862954, 0.26130258, 0.27577711}

	openAIMean = [3]float64{0.48145466, 0.4578275, 0.40821073}
	openAIStd  = [3]float64{0.26862954, 0.26130258, 0.27577711}
)

// Config is open_clip's preprocess_cfg, the JSON that stands beside a model's weights.
type Config struct {
	Size          [2]int // height, width of the result; in JSON one number when both are equal
	Mode          string // "RGB"
	Mean, Std     [3]float32
	Interpolation string // Bicubic, Bilinear or Random
	ResizeMode    string // Shortest, Longest, Squash or Patches
	FillColor     int    // 0 to 255, for Longest
	PatchSize     int    // pixels of a patch's side, for Patches

	Order        string // OrderOpenAI, which is also what an empty string means, or OrderHuggingFace
	ShortestEdge int    // Hugging Face's size before the crop, where it is not that of the result; 0: it is
}

// DefaultConfig is OpenAI's: bicubic, shortest side, size x size pixels.
func DefaultConfig(size int) Config {
	return Config{Size: [2]int{size, size}, Mode: "RGB", Mean: OpenAIMean, Std: OpenAIStd,
		Interpolation: Bicubic, ResizeMode: Shortest}
}

type configJSON struct {
	Size          json.RawMessage `json:"size,omitempty"`
	Mode          *string         `json:"mode,omitempty"`
	Mean          json.RawMessage `json:"mean,omitempty"`
	Std           json.RawMessage `json:"std,omitempty"`
	Interpolation *string         `json:"interpolation,omitempty"`
	ResizeMode    *string         `json:"resize_mode,omitempty"`
	FillColor     *int            `json:"fill_color,omitempty"`
	PatchSize     *int            `json:"patch_size,omitempty"`
	Order         *string         `json:"order,omitempty"`
	ShortestEdge  *int            `json:"shortest_edge,omitempty"`
}

// MarshalJSON writes open_clip's keys, and "patch_size", "order" and "shortest_edge" where they are not open_clip's.
func (c Config) MarshalJSON() ([]byte, error) {
	var size any = c.Size
	if c.Size[0] == c.Size[1] {
		size = c.Size[0]
	}
	return json.Marshal(struct {
		Size          any        `json:"size"`
		Mode          string     `json:"mode"`
		Mean          [3]float64 `json:"mean"`
		Std           [3]float64 `json:"std"`
		Interpolation string     `json:"interpolation"`
		ResizeMode    string     `json:"resize_mode"`
		FillColor     int        `json:"fill_color"`
		PatchSize     int        `json:"patch_size,omitempty"`
		Order         string     `json:"order,omitempty"`
		ShortestEdge  int        `json:"shortest_edge,omitempty"`
	}{size, c.Mode, decimals(c.Mean, openAIMean), decimals(c.Std, openAIStd), c.Interpolation, c.ResizeMode, c.FillColor,
		c.PatchSize, c.Order, c.ShortestEdge})
}

// decimals gives the numbers that people write for float32 values: OpenAI's own digits, or the shortest.
func decimals(v [3]float32, known [3]float64) (out [3]float64) {
	for i, f := range v {
		if out[i] = known[i]; f != float32(known[i]) {
			out[i], _ = strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
		}
	}
	return out
}

// UnmarshalJSON reads open_clip's keys. A key that is missing or null keeps the value that c had, or open_clip's
// default where c had none; unknown keys are passed over, as open_clip passes over them.
func (c *Config) UnmarshalJSON(data []byte) error {
	var j configJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("preprocess: reading the preprocess configuration: %w", err)
	}
	out := *c
	out.fillDefaults()
	if err := readSize(&out.Size, j.Size); err != nil {
		return err
	}
	if err := readTriple(&out.Mean, j.Mean, "mean"); err != nil {
		return err
	}
	if err := readTriple(&out.Std, j.Std, "std"); err != nil {
		return err
	}
	for _, f := range []struct {
		dst *string
		src *string
	}{{&out.Mode, j.Mode}, {&out.Interpolation, j.Interpolation}, {&out.ResizeMode, j.ResizeMode},
		{&out.Order, j.Order}} {
		if f.src != nil {
			*f.dst = *f.src
		}
	}
	if j.FillColor != nil {
		out.FillColor = *j.FillColor
	}
	if j.PatchSize != nil {
		out.PatchSize = *j.PatchSize
	}
	if j.ShortestEdge != nil {
		out.ShortestEdge = *j.ShortestEdge
	}
	if err := out.Validate(); err != nil {
		return err
	}
	*c = out
	return nil
}

func (c *Config) fillDefaults() {
	d := DefaultConfig(224)
	if c.Size == [2]int{} {
		c.Size = d.Size
	}
	if c.Std == [3]float32{} {
		c.Mean, c.Std = d.Mean, d.Std
	}
	if c.Mode == "" {
		c.Mode = d.Mode
	}
	if c.Interpolation == "" {
		c.Interpolation = d.Interpolation
	}
	if c.ResizeMode == "" {
		c.ResizeMode = d.ResizeMode
	}
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func readSize(dst *[2]int, raw json.RawMessage) error {
	if absent(raw) {
		return nil
	}
	var n int
	if json.Unmarshal(raw, &n) == nil {
		*dst = [2]int{n, n}
		return nil
	}
	var pair []int
	if json.Unmarshal(raw, &pair) != nil || len(pair) < 1 || len(pair) > 2 {
		return fmt.Errorf("preprocess: size is %s; it must be a number or [height, width]", raw)
	}
	*dst = [2]int{pair[0], pair[len(pair)-1]}
	return nil
}

func readTriple(dst *[3]float32, raw json.RawMessage, key string) error {
	if absent(raw) {
		return nil
	}
	var one float32
	if json.Unmarshal(raw, &one) == nil {
		*dst = [3]float32{one, one, one}
		return nil
	}
	var three []float32
	if json.Unmarshal(raw, &three) != nil || len(three) != 3 {
		return fmt.Errorf("preprocess: %s is %s; it must be three numbers, for R, G and B", key, raw)
	}
	copy(dst[:], three)
	return nil
}

// maxSide bounds the result of a transform: beyond it a configuration is a slip, not a model.
const maxSide = 1 << 14

// Validate says what is wrong with c, naming the field.
func (c Config) Validate() error {
	for _, n := range c.Size {
		if n < 1 || n > maxSide {
			return fmt.Errorf("preprocess: size %d is not between 1 and %d", n, maxSide)
		}
	}
	if c.Mode != "RGB" {
		return fmt.Errorf("preprocess: mode %q is not supported; CLIP reads \"RGB\"", c.Mode)
	}
	for i, s := range c.Std {
		if !(s > 0) {
			return fmt.Errorf("preprocess: std[%d] is %v; it must be positive", i, s)
		}
	}
	switch c.Interpolation {
	case Bicubic, Bilinear, Random:
	default:
		return fmt.Errorf("preprocess: interpolation %q is not one of bicubic, bilinear, random", c.Interpolation)
	}
	switch c.ResizeMode {
	case Shortest, Longest, Squash, Patches:
	default:
		return fmt.Errorf("preprocess: resize_mode %q is not one of shortest, longest, squash, patches", c.ResizeMode)
	}
	if (c.PatchSize != 0) != (c.ResizeMode == Patches) {
		return fmt.Errorf("preprocess: patch_size is %d and resize_mode %q; a model with patch_size needs patches, and no other does", c.PatchSize, c.ResizeMode)
	}
	if p := c.PatchSize; c.ResizeMode == Patches && (p < 1 || c.Size[0]%p != 0 || c.Size[1]%p != 0 || c.Size[0] < 2*p || c.Size[1] < 2) {
		return fmt.Errorf("preprocess: size %v must be rows and columns of patch_size %d, with one row more than there are of patches", c.Size, p)
	}
	if c.FillColor < 0 || c.FillColor > 255 {
		return fmt.Errorf("preprocess: fill_color %d is not between 0 and 255", c.FillColor)
	}
	switch c.Order {
	case "", OrderOpenAI, OrderHuggingFace:
	default:
		return fmt.Errorf("preprocess: order %q is not one of openai, huggingface", c.Order)
	}
	if c.ShortestEdge < 0 || c.ShortestEdge > maxSide {
		return fmt.Errorf("preprocess: shortest_edge %d is not between 0 and %d", c.ShortestEdge, maxSide)
	}
	if c.ShortestEdge > 0 && (c.ResizeMode != Shortest || c.Order != OrderHuggingFace) {
		return fmt.Errorf("preprocess: shortest_edge is for resize_mode shortest in the order huggingface")
	}
	return nil
}
