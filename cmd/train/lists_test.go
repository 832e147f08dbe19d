package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestJoinLists(t *testing.T) {
	for _, c := range []struct{ args, want []string }{
		{strings.Fields("--lr 1 --image-mean 0.5 -0.1 0.5 --aug-cfg a=1 b=(2,3) --seed 3"), []string{"--lr", "1", "--image-mean=0.5 -0.1 0.5", "--aug-cfg=a=1 b=(2,3)", "--seed", "3"}},
		{[]string{"--aug-cfg", "a=1 b=2"}, []string{"--aug-cfg=a=1 b=2"}},
		{[]string{"--aug-cfg", "--lr", "1"}, []string{"--aug-cfg=", "--lr", "1"}},
		{[]string{"--aug-cfg=a=1", "--name", "--x"}, []string{"--aug-cfg=a=1", "--name", "--x"}},
		{[]string{"--image-std"}, []string{"--image-std="}},
	} {
		assert.Equal(t, c.want, joinLists(c.args))
	}
}
