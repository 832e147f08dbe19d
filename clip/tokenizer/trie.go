package tokenizer

import (
	"cmp"
	"slices"
)

// trie finds every piece that a text begins with. The children of a node stand side by side in the order of their bytes.
type trie []trieNode

type trieNode struct {
	value    int32 // of the piece that ends here, or -1
	first    int32 // child
	children uint16
	label    byte
}

type entry struct {
	text  string
	value int32
}

// newTrie takes entries with distinct texts, none of them empty.
func newTrie(entries []entry) trie {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.text, b.text) })
	t := trie{{value: -1}}
	type span struct{ node, low, high, depth int }
	for todo := []span{{0, 0, len(entries), 0}}; len(todo) > 0; todo = todo[1:] {
		s := todo[0]
		if s.low < s.high && len(entries[s.low].text) == s.depth {
			t[s.node].value = entries[s.low].value
			s.low++
		}
		t[s.node].first = int32(len(t))
		for low := s.low; low < s.high; {
			label, high := entries[low].text[s.depth], low+1
			for high < s.high && entries[high].text[s.depth] == label {
				high++
			}
			todo = append(todo, span{len(t), low, high, s.depth + 1})
			t = append(t, trieNode{value: -1, label: label})
			t[s.node].children++
			low = high
		}
	}
	return t
}

// child is the node that label leads to, or -1.
func (t trie) child(node int, label byte) int {
	n := t[node]
	low, high := int(n.first), int(n.first)+int(n.children)
	for low < high {
		if mid := (low + high) / 2; t[mid].label < label {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < int(n.first)+int(n.children) && t[low].label == label {
		return low
	}
	return -1
}

// longest is the length of the longest piece that text begins with, or 0.
func (t trie) longest(text string) int {
	_, n := t.longestFrom(0, text)
	return n
}

// longestFrom is longest of what follows the text that leads to node; nothing does where there is no such node.
func (t trie) longestFrom(node int, text string) (value int32, n int) {
	for i := 0; node >= 0 && i < len(text); i++ {
		if node = t.child(node, text[i]); node >= 0 && t[node].value >= 0 {
			value, n = t[node].value, i+1
		}
	}
	return value, n
}

// node is the node that text leads to, or -1.
func (t trie) node(text string) int {
	node := 0
	for i := 0; node >= 0 && i < len(text); i++ {
		node = t.child(node, text[i])
	}
	return node
}
