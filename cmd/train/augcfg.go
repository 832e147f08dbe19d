package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
)

// augCfg is open_clip's --aug-cfg: how training images are varied.
type augCfg struct {
	preprocess.AugConfig
}

// UnmarshalText reads "scale=[0.5,1.0] color_jitter_prob=0.8", the fields of open_clip's
// AugmentationCfg (open_clip/transform.py); parentheses stand for brackets, None for what is not
// given. Ratio acts here as it does there with use_timm; what acts there with use_timm alone, and
// is not here, is refused by name.
func (a *augCfg) UnmarshalText(text []byte) error {
	out := augCfg{}
	for _, field := range splitOutsideBrackets(string(text)) {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return fmt.Errorf("%q is not KEY=VALUE", field)
		}
		value = strings.NewReplacer("(", "[", ")", "]", "'", "", `"`, "").Replace(value)
		var into any
		switch key {
		case "scale":
			into = &out.Scale
		case "ratio":
			into = &out.Ratio
		case "color_jitter":
			into = &out.ColorJitter
		case "color_jitter_prob":
			into = &out.ColorJitterProb
		case "gray_scale_prob":
			into = &out.GrayScaleProb
		case "re_prob", "re_count", "use_timm":
			if !slices.Contains([]string{"None", "False", "false", "0", "0.0"}, value) && !(key == "re_count" && value == "1") {
				return fmt.Errorf("%s=%s is of timm's augmentation (random erasing and more), which goclip does not have", key, value)
			}
			continue
		default:
			return fmt.Errorf("%q: must be one of scale, ratio, color_jitter, color_jitter_prob, gray_scale_prob", key)
		}
		if value == "None" {
			continue
		}
		if err := json.Unmarshal([]byte(value), into); err != nil {
			return fmt.Errorf("%s=%s: must be numbers, such as scale=[0.9,1.0]", key, value)
		}
	}
	if len(out.ColorJitter) > 0 && out.ColorJitterProb == 0 {
		return fmt.Errorf("color_jitter=%v does nothing without color_jitter_prob", out.ColorJitter)
	}
	*a = out
	return nil
}

// splitOutsideBrackets parts fields at spaces and semicolons, but not within [0.9, 1.0].
func splitOutsideBrackets(text string) []string {
	depth := 0
	return strings.FieldsFunc(text, func(r rune) bool {
		switch r {
		case '[', '(':
			depth++
		case ']', ')':
			depth--
		}
		return depth <= 0 && (r == ' ' || r == ';')
	})
}

// MarshalText writes what UnmarshalText reads, for a checkpoint's state.
func (a augCfg) MarshalText() ([]byte, error) {
	var fields []string
	add := func(key string, value any, set bool) error {
		text, err := json.Marshal(value)
		if err == nil && set {
			fields = append(fields, key+"="+string(text))
		}
		return err
	}
	err := errors.Join(add("scale", a.Scale, a.Scale != [2]float64{}), add("ratio", a.Ratio, a.Ratio != [2]float64{}),
		add("color_jitter", a.ColorJitter, len(a.ColorJitter) > 0), add("color_jitter_prob", a.ColorJitterProb, a.ColorJitterProb != 0),
		add("gray_scale_prob", a.GrayScaleProb, a.GrayScaleProb != 0))
	return []byte(strings.Join(fields, " ")), err
}
