package tower

import (
	"slices"

	"github.com/goclip/goclip/torch"
)

// Texts is a batch of texts in the order in which a causal text tower reads their tokens: each up to its end token, behind which
// nothing reaches the feature, and one behind the other. [Arranger] makes it on the host, of numbers alone, so that
// nothing waits for the device.
type Texts struct {
	n      int     // texts; what follows them is room
	ids    []int64 // (N), the tokens
	places []int64 // (N), the position of each in its text
	ends   []int64 // the row of each text's end token
	order  []int64 // (n), where each of the batch's texts stands among the sorted ones; of groups
	starts []int64 // where each text begins, and the last ends; without groups

	groups  lengthGroups // of about one length, each padded to its longest; nil: texts without any padding
	longest int
}

// Ragged says how the rows of a batch (1, N, W) are tokens of texts; nil stands for texts of one length, (B, T, W). Only attention
// needs to know, because nothing else mixes rows, so all tokens are one matrix everywhere else, and a long text costs itself
// and not the whole batch.
type Ragged struct {
	groups lengthGroups     // texts of about one length, padded; or
	packed *torch.Sequences // texts of any length without padding
}

// each maps groups as [lengthGroups.each] does; nil is texts of one length.
func (r *Ragged) each(x *torch.Tensor, f func(x *torch.Tensor) *torch.Tensor) *torch.Tensor {
	if r == nil {
		return f(x)
	}
	return r.groups.each(x, f)
}

func (r *Ragged) isPacked() bool { return r != nil && r.packed != nil }

// arrangeTexts takes rows of so many tokens, of which what follows the end token, at the given position, changes nothing. Packed texts
// are for [torch.VarlenAttention], others in groups.
func arrangeTexts(tokens []int64, length int, ends []int64, packed bool, room int) *Texts {
	if !packed {
		return sortTexts(tokens, length, ends)
	}
	t := &Texts{n: len(ends), starts: []int64{0}}
	for i, end := range ends {
		t.add(tokens[i*length : i*length+int(end)+1])
	}
	if room > 0 {
		t.fill(room, length)
	}
	return t
}

// add puts a text behind the others.
func (t *Texts) add(tokens []int64) {
	t.ids = append(t.ids, tokens...)
	for place := range tokens {
		t.places = append(t.places, int64(place))
	}
	t.ends = append(t.ends, int64(len(t.ids)-1))
	t.starts = append(t.starts, int64(len(t.ids)))
	t.longest = max(t.longest, len(tokens))
}

// fill adds texts that nobody reads, for a number of tokens that is a multiple of room. How many texts it adds, each of 1 to length
// tokens, depends on room and length alone, so that batches of as many texts and tokens have one shape in all they do.
func (t *Texts) fill(room, length int) {
	more := max(1, (room-1+length-2)/max(1, length-1)) // so many can have more to more+room-1 tokens
	free := more + (room-(len(t.ids)+more)%room)%room
	for i := range more {
		t.add(make([]int64, (free+i)/more))
	}
	t.longest = length
}

// Rows returns how many tokens the tower computes, padding and room included.
func (t *Texts) Rows() int { return len(t.ids) }

// Packed reports whether there is no padding.
func (t *Texts) Packed() bool { return t.groups == nil }

// Numbers returns what [Arranger] needs on the model's device. Those of texts arranged with room may stand for those of others
// with as many texts and rows.
func (t *Texts) Numbers() []int64 { return slices.Concat(t.ids, t.places, t.ends, t.order, t.starts) }

// cut takes the numbers apart: ids and places (1, N), ends, order.
func (t *Texts) cut(numbers *torch.Tensor) (ids, places, ends, order *torch.Tensor, r *Ragged) {
	parts := numbers.Split(0, len(t.ids), len(t.places), len(t.ends), len(t.order), len(t.starts))
	r = &Ragged{groups: t.groups}
	if t.groups == nil {
		r.packed = &torch.Sequences{Starts: parts[4].To(numbers.Device(), torch.Int32), Longest: t.longest}
	}
	return parts[0].Unsqueeze(0), parts[1].Unsqueeze(0), parts[2], parts[3], r
}

// numbersLike brings the numbers to the scope and the device of a weight.
func (t *Texts) numbersLike(weight *torch.Tensor) *torch.Tensor {
	numbers := t.Numbers()
	return torch.FromSliceLike(weight, numbers, len(numbers))
}

// Arrange is nil for a tower that is not causal or not read at the end token: that needs Forward.
func (t *Text) Arrange(tokens []int64, length int, products torch.DType, room int) *Texts {
	if !t.cuts() {
		return nil
	}
	return arrangeTexts(tokens, length, t.config.ends(tokens, length), t.packs(products), room)
}

// Lengths counts each text up to its end token and, without packing, the padding of its group.
func (t *Text) Lengths(tokens []int64, length int, products torch.DType) []int {
	if !t.cuts() {
		return slices.Repeat([]int{length}, len(tokens)/length)
	}
	lengths := sortedLengths(t.config.ends(tokens, length))
	if t.packs(products) {
		return lengths
	}
	return padded(lengths)
}

func sortedLengths(ends []int64) []int {
	lengths := make([]int, len(ends))
	for i, end := range ends {
		lengths[i] = int(end) + 1
	}
	slices.Sort(lengths)
	return lengths
}

// padded is the length of each text's group.
func padded(lengths []int) []int {
	out := make([]int, 0, len(lengths))
	for _, g := range groupLengths(lengths) {
		out = append(out, slices.Repeat([]int{g.tokens}, g.texts)...)
	}
	return out
}
