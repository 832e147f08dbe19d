package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
)

// AugCfg is open_clip's --aug-cfg: how training pictures are varied.
type AugCfg struct {
	preprocess.AugConfig
}

// UnmarshalText reads "scale=[0.5,1.0] color_jitter_prob=0.8"; parentheses stand for brackets.
func (a *AugCfg) UnmarshalText(text []byte) error {
	for _, field := range strings.FieldsFunc(string(text), func(r rune) bool { return r == ' ' || r == ';' }) {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return fmt.Errorf("%q is not KEY=VALUE", field)
		}
		value = strings.NewReplacer("(", "[", ")", "]", "'", "").Replace(value)
		var into any
		switch key {
		case "scale":
			into = &a.Scale
		case "ratio":
			into = &a.Ratio
		case "color_jitter":
			into = &a.ColorJitter
		case "color_jitter_prob":
			into = &a.ColorJitterProb
		case "gray_scale_prob":
			into = &a.GrayScaleProb
		default:
			return fmt.Errorf("%q is none of scale, ratio, color_jitter, color_jitter_prob, gray_scale_prob", key)
		}
		if err := json.Unmarshal([]byte(value), into); err != nil {
			return fmt.Errorf("%s=%s: numbers are wanted, such as scale=[0.9,1.0]", key, value)
		}
	}
	return nil
}

// MarshalText writes what UnmarshalText reads, for a checkpoint's state.
func (a AugCfg) MarshalText() ([]byte, error) {
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
