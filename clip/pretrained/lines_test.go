package pretrained

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLines(t *testing.T) {
	var b bytes.Buffer
	o := Lines(&b, "infer: ")
	for done := int64(0); done <= 10<<20; done += 1 << 20 {
		o.Progress(Progress{File: "a.bin", Host: "example.org", Done: done, Total: 10 << 20})
	}
	o.Log("trying again")
	o.Progress(Progress{File: "b", Host: "h", Done: 7, Total: -1})
	assert.Equal(t, "infer: a.bin from example.org: 0 of 10 MiB\ninfer: a.bin from example.org: 10 of 10 MiB\ninfer: trying again\n", b.String(), "the first, the last, and none in between so soon")
}
