package data_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/corpus"
	"github.com/goclip/goclip/train/data"
)

// named is an archive of members of these names, each with its place as its content. One that ends
// in / is a folder.
func named(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, name := range names {
		h := &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}
		content := ""
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		} else {
			content = strconv.Itoa(i)
		}
		h.Size = int64(len(content))
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// split gives key, image and caption of each sample of an archive; none where it holds no sample.
func split(t *testing.T, archive []byte, o data.Options) [][]string {
	t.Helper()
	dir := tree(t, map[string][]byte{"s.tar": archive})
	out := [][]string{}
	set, err := open(t, filepath.Join(dir, "s.tar"), o)
	if err != nil {
		require.ErrorContains(t, err, "holds no sample")
		return out
	}
	for _, s := range samples(t, set, dir) {
		out = append(out, []string{strings.TrimPrefix(s.key, "s.tar:"), s.image, s.captions[0]})
	}
	return out
}

// TestAsWebdataset splits shards as testdata/data/make_shards.py had webdataset split them.
func TestAsWebdataset(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("..", "..", "testdata", "data", "webdataset_shards.json"))
	require.NoError(t, err)
	var shards []struct {
		Members []string
		Samples [][]string

		OpenCLIP [][]string `json:"open_clip"`
	}
	require.NoError(t, json.Unmarshal(golden, &shards))
	require.Greater(t, len(shards), 300)
	beside, besideOpenCLIP := corpus.Tally{Beside: "webdataset"}, corpus.Tally{Beside: "open_clip"}
	for _, c := range shards {
		got := split(t, named(t, c.Members...), data.Options{TarImageKeys: "jpg;png", TarTextKeys: "txt;cls"})
		assert.Equal(t, c.Samples, got, "%q", c.Members)
		beside.Add(t, "shards", strings.Join(c.Members, " "), corpus.Equal, "")

		got = split(t, named(t, c.Members...), data.Options{})
		o, why := corpus.Equal, ""
		if !slices.EqualFunc(c.OpenCLIP, got, slices.Equal) {
			o = corpus.Differs
			why = moreThanOpenCLIP(c.Members, c.OpenCLIP, got)
		}
		besideOpenCLIP.Add(t, "shards", strings.Join(c.Members, " "), o, why)
	}
	beside.Log(t)
	besideOpenCLIP.Log(t)
}

// moreThanOpenCLIP is why samples are found that open_clip loses; "" where that is not all.
func moreThanOpenCLIP(members []string, theirs, ours [][]string) string {
	dotted, parted := 0, 0
	same := slices.DeleteFunc(slices.Clone(ours), func(s []string) bool {
		image, _ := strconv.Atoi(s[1])
		text, _ := strconv.Atoi(s[2])
		between := members[min(image, text)+1 : max(image, text)]
		switch {
		case strings.Contains(path.Base(s[0]), "."):
			dotted++
		case slices.ContainsFunc(between, func(name string) bool { return !strings.HasPrefix(name, s[0]+".") && !strings.HasSuffix(name, "/") }):
			parted++
		default:
			return false
		}
		return true
	})
	switch {
	case !slices.EqualFunc(theirs, same, slices.Equal):
		return ""
	case parted > 0:
		return "open_clip ends a sample at a member of another name that is neither image nor caption"
	}
	return "open_clip finds no image in a.b.jpg beside a.b.txt"
}
