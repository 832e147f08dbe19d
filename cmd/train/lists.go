package main

import (
	"slices"
	"strings"
)

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
