package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch/checkpoint"
)

// listed is n numbers in a format, with commas.
func listed(n int, format string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// TestBounds opens files that say as much as they can in few bytes.
func TestBounds(t *testing.T) {
	list := listed
	empty := `"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`
	members := make([]string, 2*20_000)
	for i := range members {
		members[i] = ""
		if i%2 == 0 {
			members[i] = fmt.Sprint(i)
		}
	}
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"many tensors", "", file("{" + list(1<<15, empty) + "}")},
		{"more tensors", "more than 32768 tensors", file("{" + list(1<<15+1, empty) + "}")},
		{"long metadata", "over the limit of", file(`{"__metadata__":{` + list(400_000, `"%d":""`) + "}}")},
		{"much metadata", "", file(`{"__metadata__":{` + list(100_000, `"%d":""`) + "}}")},
		{"many dimensions", "over the limit of", file(`{"a":{"dtype":"U8","shape":[` + strings.Repeat("0,", 100_000) + "0" + `],"data_offsets":[0,0]}}`)},
		{"many members", "holds no data.pkl", pack(t, members...)},
		{"zip's names", "holds no data.pkl", pack(t, strings.Repeat("a/", 500), "")},
		{"many wide views", "more than the file has", archive(t, "\x80\x02]("+strings.Repeat(floats("0", 8, 0, []int{1, 1 << 15}, []int{9, 0}), 1000)+"e.")},
		{"many copies of a list", "to unfold", archive(t, "\x80\x02](("+"NNtq\x00"+strings.Repeat("h\x00", 20_000)+"eq\x01ccollections\nOrderedDict\nq\x02"+strings.Repeat("h\x02h\x01\x85R0", 500)+"00}.")},
	} {
		t.Run(c.name, func(t *testing.T) {
			mustParse(t, c.data)
			_, err := checkpoint.Parse("bad", c.data)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
	index := filepath.Join(t.TempDir(), "index.json")
	for _, text := range []string{list(1<<15, `"%d":"one"`), list(1<<16, `"%d":"one"`), list(1<<15, `"%[1]d":"%[1]d"`)} {
		text = `{"weight_map":{` + text + "}}"
		require.NoError(t, os.WriteFile(index, []byte(text), 0o644))
		mustHold(t, len(text), func() (*checkpoint.File, error) { return checkpoint.Open(index) })
	}
}
