package tower

import (
	"cmp"
	"slices"

	"github.com/goclip/goclip/torch"
)

// lengthGroups is texts in groups of about the same length, one behind the other, each padded to its longest.
type lengthGroups []alike

// alike is a number of texts with the same number of tokens.
type alike struct{ texts, tokens int }

// groupCost is what a group more costs in every block, where each has attention of its own: about the time of so many
// tokens in a tower of width 512 on two cores.
const groupCost = 16

// groupLengths cuts texts of the given lengths, sorted, into groups for which the padded tokens, and [groupCost] for each, are fewest.
func groupLengths(sorted []int) lengthGroups {
	type plan struct{ cost, from int } // of all texts before this one; where its last group begins
	best := make([]plan, len(sorted)+1)
	for i := 1; i <= len(sorted); i++ {
		if i < len(sorted) && sorted[i] == sorted[i-1] {
			continue // texts of one length are in one group
		}
		best[i].cost = i*sorted[i-1] + groupCost
		for j := 1; j < i; j++ {
			if sorted[j] == sorted[j-1] {
				continue
			}
			if cost := best[j].cost + (i-j)*sorted[i-1] + groupCost; cost < best[i].cost {
				best[i] = plan{cost, j}
			}
		}
	}
	var r lengthGroups
	for i := len(sorted); i > 0; i = best[i].from {
		r = append(r, alike{i - best[i].from, sorted[i-1]})
	}
	slices.Reverse(r)
	return r
}

// each maps the groups of x (1, N, W), as (texts, tokens, W), and joins what f makes of them, (texts, t, V), along their
// rows: (1, M, V).
func (r lengthGroups) each(x *torch.Tensor, f func(x *torch.Tensor) *torch.Tensor) *torch.Tensor {
	parts := r.split(x)
	for i, part := range parts {
		parts[i] = f(part)
	}
	return join(parts)
}

// split cuts x (1, N, W) into its groups, (texts, tokens, W) each.
func (r lengthGroups) split(x *torch.Tensor) []*torch.Tensor {
	sizes := make([]int, len(r))
	for i, g := range r {
		sizes[i] = g.texts * g.tokens
	}
	parts := x.Split(1, sizes...)
	for i, part := range parts {
		parts[i] = part.View(r[i].texts, r[i].tokens, x.Size(2))
	}
	return parts
}

// join puts the rows of groups (texts, t, V) behind each other: (1, M, V).
func join(parts []*torch.Tensor) *torch.Tensor {
	rows := make([]*torch.Tensor, len(parts))
	for i, part := range parts {
		rows[i] = part.Reshape(1, -1, part.Size(2))
	}
	if len(rows) == 1 {
		return rows[0]
	}
	return torch.Cat(1, rows...)
}

// sortTexts arranges texts in groups, see arrangeTexts.
func sortTexts(tokens []int64, length int, ends []int64) *Texts {
	sorted := make([]int, len(ends))
	for i := range sorted {
		sorted[i] = i
	}
	slices.SortStableFunc(sorted, func(a, b int) int { return cmp.Compare(ends[a], ends[b]) })
	lengths := make([]int, len(ends))
	for i, text := range sorted {
		lengths[i] = int(ends[text]) + 1
	}
	t := &Texts{n: len(ends), groups: groupLengths(lengths), order: make([]int64, len(ends))}
	i := 0
	for _, g := range t.groups {
		for range g.texts {
			text := sorted[i]
			t.order[text] = int64(i)
			t.ends = append(t.ends, int64(len(t.ids))+ends[text])
			t.ids = append(t.ids, tokens[text*length:text*length+g.tokens]...)
			for place := range g.tokens {
				t.places = append(t.places, int64(place))
			}
			i++
		}
	}
	return t
}
