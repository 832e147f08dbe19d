package tokenizer

import (
	"fmt"
	"iter"
	"strings"
	"sync"
	"unicode/utf8"
)

// bpe is a byte-pair encoding: a letter for each byte, and merges by which letters grow to pieces.
type bpe struct {
	pieces []string // by id, in the byte alphabet
	merges mergeTable
	inner  [256]int32 // the id of each byte
	last   [256]int32 // and at the end of a word, where CLIP's pieces end in "</w>"
	mu     sync.RWMutex
	words  map[string][]int // what short words became; bounded
}

// mergeTable is the pairs that become one piece, the lowest rank first.
type mergeTable map[uint64]merged

type merged struct{ rank, id int32 }

const (
	maxWords  = 1 << 17
	shortWord = 64
)

func pair(a, b int32) uint64 { return uint64(a)<<32 | uint64(b) }

// newBPE takes the pieces by id, and the merges from the first to be applied to the last. suffix marks a word's last letter.
func newBPE(pieces []string, merges iter.Seq2[int, [2]string], suffix string) (*bpe, error) {
	b := &bpe{pieces: pieces, words: map[string][]int{}}
	ids := numbered(pieces)
	for c, letter := range byteLetters().of {
		var in, out bool
		b.inner[c], in = ids[letter]
		b.last[c], out = ids[letter+suffix]
		if !in || !out {
			return nil, fmt.Errorf("the vocabulary lacks %q, which stands for the byte %#02x", letter, c)
		}
	}
	var err error
	b.merges, err = newMerges(ids, merges)
	return b, err
}

// numbered is the id of each piece.
func numbered(pieces []string) map[string]int32 {
	ids := make(map[string]int32, len(pieces))
	for id, piece := range pieces {
		ids[piece] = int32(id)
	}
	return ids
}

func newMerges(ids map[string]int32, pairs iter.Seq2[int, [2]string]) (mergeTable, error) {
	all := make(mergeTable, len(ids)) // a merge makes a piece of its own
	for rank, sides := range pairs {
		first, ok1 := ids[sides[0]]
		second, ok2 := ids[sides[1]]
		whole, ok3 := ids[sides[0]+sides[1]]
		if !ok1 || !ok2 || !ok3 {
			return nil, fmt.Errorf("merge %d joins %q and %q, and the vocabulary lacks one of them or what they make", rank+1, sides[0], sides[1])
		}
		all[pair(first, second)] = merged{int32(rank), whole}
		if len(all) != rank+1 {
			return nil, fmt.Errorf("merge %d, of %q and %q, stands there twice", rank+1, sides[0], sides[1])
		}
	}
	return all, nil
}

// alphabet gives each byte a printable letter (GPT-2's bytes_to_unicode).
type alphabet struct {
	of    [256]string
	order []string // as CLIP's vocabulary begins
	bytes map[rune]byte
}

var byteLetters = sync.OnceValue(func() *alphabet {
	a := &alphabet{bytes: map[rune]byte{}}
	assign := func(b int, r rune) {
		a.of[b] = string(r)
		a.bytes[r] = byte(b)
		a.order = append(a.order, string(r))
	}
	printable := func(b int) bool { return b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae }
	for b := range 256 {
		if printable(b) {
			assign(b, rune(b))
		}
	}
	next := rune(256)
	for b := range 256 {
		if !printable(b) {
			assign(b, next)
			next++
		}
	}
	return a
})

// text is the bytes that a piece stands for.
func (a *alphabet) text(piece string) string {
	out := make([]byte, 0, len(piece))
	for _, r := range piece {
		out = append(out, a.bytes[r])
	}
	return string(out)
}

// encode is the ids of one word.
func (b *bpe) encode(word string) []int {
	if len(word) > shortWord {
		return b.merge(word)
	}
	b.mu.RLock()
	ids, ok := b.words[word]
	b.mu.RUnlock()
	if ok {
		return ids
	}
	ids = b.merge(word)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.words) >= maxWords {
		clear(b.words)
	}
	b.words[strings.Clone(word)] = ids
	return ids
}

// merge is the ids of one word that no cache holds.
func (b *bpe) merge(word string) []int {
	symbols := make([]int32, len(word))
	for i := range symbols {
		symbols[i] = b.inner[word[i]]
	}
	symbols[len(word)-1] = b.last[word[len(word)-1]]
	return b.merges.join(nil, symbols, true)
}

// join appends what symbols merge to, which it overwrites. The symbols are a linked list; the queue holds the rank and the
// place of each pair that merges. The lowest rank merges first, from left to right. What a merge makes may be of a lower
// rank: OpenAI's encoder looks at it when all places of the rank have merged (inTurns), Hugging Face's library at once.
func (m mergeTable) join(ids []int, symbols []int32, inTurns bool) []int {
	n := int32(len(symbols))
	next, prev := make([]int32, n), make([]int32, n)
	for i := range n {
		next[i], prev[i] = i+1, i-1
	}
	pairAt := func(at int32) (p merged, ok bool) {
		if at < 0 || next[at] >= n {
			return p, false
		}
		p, ok = m[pair(symbols[at], symbols[next[at]])]
		return p, ok
	}
	var queue queue
	push := func(at int32) {
		if p, ok := pairAt(at); ok {
			queue.push(uint64(p.rank)<<32 | uint64(at))
		}
	}
	for i := range n - 1 {
		push(i)
	}
	for len(queue) > 0 {
		rank := queue[0] >> 32
		var changed []int32
		for len(queue) > 0 && queue[0]>>32 == rank {
			at := int32(uint32(queue.pop()))
			p, ok := pairAt(at)
			if symbols[at] < 0 || !ok || uint64(p.rank) != rank { // one of the two has merged meanwhile
				continue
			}
			gone := next[at]
			symbols[at], symbols[gone] = p.id, -1
			next[at] = next[gone]
			if next[gone] < n {
				prev[next[gone]] = at
			}
			if inTurns {
				changed = append(changed, at)
				continue
			}
			push(prev[at])
			push(at)
		}
		for _, at := range changed {
			push(prev[at])
			push(at)
		}
	}
	for i := int32(0); i < n; i = next[i] {
		ids = append(ids, int(symbols[i]))
	}
	return ids
}

// queue is a binary heap, its smallest number first.
type queue []uint64

func (q *queue) push(x uint64) {
	*q = append(*q, x)
	h := *q
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up] <= h[i] {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

func (q *queue) pop() uint64 {
	h := *q
	top, n := h[0], len(h)-1
	h[0] = h[n]
	h = h[:n]
	for i := 0; ; {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && h[down+1] < h[down] {
			down++
		}
		if h[i] <= h[down] {
			break
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
	*q = h
	return top
}

// validUTF8 is text with each wrong byte sequence as U+FFFD.
func validUTF8(text string) string { return strings.ToValidUTF8(text, string(utf8.RuneError)) }
