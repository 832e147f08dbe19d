package tokenizer

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSpecials holds texts with special tokens against the libraries that made the vocabularies, as testdata/tokenizer/
// make_specials.py had them tokenize: as tokens and, with Plain, as text.
func TestSpecials(t *testing.T) {
	data, err := os.ReadFile(testdata + "specials.json")
	require.NoError(t, err)
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &all))
	var texts []string
	require.NoError(t, json.Unmarshal(all["texts"], &texts))
	golden := func(name string) (ids [][]int) {
		require.NoError(t, json.Unmarshal(all[name], &ids), name)
		require.Len(t, ids, len(texts))
		return ids
	}
	openAI, openCLIP := golden("openai"), golden("open_clip")
	other, err := NewCLIP(OpenCLIP, Lower)
	require.NoError(t, err)
	for i, text := range texts {
		assert.Equal(t, openAI[i], New().Encode(text), text)
		assert.Equal(t, openCLIP[i], other.Encode(text), text)
		plain := openAI[i] // to OpenAI's tokenizer, open_clip's tokens are text, and the other way round
		if strings.Contains(text, "<|") {
			plain = openCLIP[i]
		}
		assert.Equal(t, plain, Plain(New()).Encode(text), text)
		assert.Equal(t, plain, Plain(other).Encode(text), text)
	}
	for family, e := range map[string]Encoder{
		"roberta": opened(t, "roberta/tokenizer.json.gz", Options{}), "xlmr": opened(t, "xlmr/tokenizer.json.gz", Options{}),
		"bert": opened(t, "bert/tokenizer.json.gz", Options{}), "gemma": opened(t, "gemma/tokenizer.json.gz", Options{}),
	} {
		special, plain := golden(family), golden(family+" plain")
		assert.NotEqual(t, special, plain, family)
		for i, text := range texts {
			assert.Equal(t, special[i], e.Encode(text), "%s: %s", family, text)
			assert.Equal(t, plain[i], Plain(e).Encode(text), "%s, as text: %s", family, text)
		}
		assert.Equal(t, []int64{e.Pad(), e.End()}, []int64{Plain(e).Pad(), Plain(e).End()}, family)
	}
}
