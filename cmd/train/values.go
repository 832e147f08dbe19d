package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// triple is three numbers, for R, G and B; none is the zero value.
type triple []float32

// UnmarshalText reads one number, which stands for all three, or three, separated by spaces or
// commas.
func (t *triple) UnmarshalText(text []byte) error {
	fields := strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" ,;[]()", r) })
	var out triple
	for _, field := range fields {
		x, err := strconv.ParseFloat(field, 32)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("%q is not a number", field)
		}
		out = append(out, float32(x))
	}
	if len(out) == 1 {
		out = triple{out[0], out[0], out[0]}
	}
	if len(out) != 3 && len(out) != 0 {
		return fmt.Errorf("%q: must be one number, or three", text)
	}
	*t = out
	return nil
}

// MarshalText writes what UnmarshalText reads, for a checkpoint's state.
func (t triple) MarshalText() ([]byte, error) {
	return []byte(strings.Trim(fmt.Sprint([]float32(t)), "[]")), nil
}

// imageSize is --force-image-size, the side of square images in pixels.
type imageSize int

// UnmarshalText reads "224", or "224 224" as open_clip has height and width.
func (s *imageSize) UnmarshalText(text []byte) error {
	fields := strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" ,;", r) })
	if len(fields) == 0 || len(fields) > 2 || fields[0] != fields[len(fields)-1] {
		return fmt.Errorf("%q: must be one number; images are square", text)
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		return fmt.Errorf("%q is not a number of pixels", text)
	}
	*s = imageSize(n)
	return nil
}

// UnmarshalJSON reads the number of a checkpoint's state.
func (s *imageSize) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, (*int)(s)) }

// warmup is --warmup: a number of steps or, below 1, a fraction of the run; -1 stands for the default.
type warmup float64

// UnmarshalText reads "200", "0.1" or "10%".
func (w *warmup) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(string(text), "%")
	x, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return fmt.Errorf("%q is neither a number of steps nor a share such as 0.1 or 10%%", text)
	}
	if percent {
		if x < 0 || x >= 100 {
			return fmt.Errorf("%s: must be a percentage of the run, at least 0%% and below 100%%", text)
		}
		x /= 100
	}
	*w = warmup(x)
	return nil
}

// UnmarshalJSON reads the number of a checkpoint's state.
func (w *warmup) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, (*float64)(w)) }

// lists are open_clip's flags that take all arguments up to the next flag (argparse's nargs).
var lists = []string{"--aug-cfg", "--image-mean", "--image-std", "--force-image-size"}

// joinLists makes one argument of those of such a flag, so that `--image-mean 0.5 0.5 0.5` is read
// as open_clip reads it.
func joinLists(args []string) (out []string) {
	for i := 0; i < len(args); i++ {
		if !slices.Contains(lists, args[i]) {
			out = append(out, args[i])
			continue
		}
		name := args[i]
		var values []string
		for ; i+1 < len(args) && !strings.HasPrefix(args[i+1], "--"); i++ {
			values = append(values, args[i+1])
		}
		out = append(out, name+"="+strings.Join(values, " "))
	}
	return out
}
