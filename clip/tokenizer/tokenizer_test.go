package tokenizer

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestKnownValue(t *testing.T) { // openai/CLIP notebooks/Interacting_with_CLIP.ipynb
	ids, cut := New().Tokenize("Hello World!", 77)
	assert.Equal(t, []int64{49406, 3306, 1002, 256, 49407, 0}, ids[:6])
	assert.Len(t, ids, 77)
	assert.False(t, cut)
	assert.Equal(t, 49408, New().VocabSize())
	assert.Equal(t, "hello world ! ", New().Decode([]int{49406, 3306, 1002, 256, 49407}))
}

func TestTruncation(t *testing.T) {
	ids, cut := New().Tokenize("one two three four five six seven", 5)
	assert.True(t, cut)
	assert.Equal(t, int64(SOT), ids[0])
	assert.Equal(t, int64(EOT), ids[4])
}

func TestVocabularyIsOpenAIs(t *testing.T) {
	assert.Equal(t, "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a", fmt.Sprintf("%x", sha256.Sum256(vocabulary)))
}
