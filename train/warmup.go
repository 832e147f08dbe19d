package train

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Warmup is --warmup: a number of steps or, below 1, a share of the run; -1 stands for the default.
type Warmup float64

// UnmarshalText reads "200", "0.1" or "10%".
func (w *Warmup) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(string(text), "%")
	x, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return fmt.Errorf("%q is neither a number of steps nor a share such as 0.1 or 10%%", text)
	}
	if percent {
		if x < 0 || x >= 100 {
			return fmt.Errorf("%s: a share of the run is wanted, at least 0%% and below 100%%", text)
		}
		x /= 100
	}
	*w = Warmup(x)
	return nil
}

// UnmarshalJSON reads the number of a checkpoint's state.
func (w *Warmup) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, (*float64)(w)) }

func (w Warmup) valid() bool {
	return w == -1 || w >= 0 && !math.IsInf(float64(w), 0) && (w < 1 || w == Warmup(math.Trunc(float64(w))))
}

// steps are those of a run of total steps. The default is a tenth of it, at most 10,000 steps, which is open_clip's default.
func (w Warmup) steps(total int) int {
	switch {
	case w < 0:
		return min(total/10, 10000)
	case w < 1:
		return int(float64(w) * float64(total))
	default:
		return int(w)
	}
}
