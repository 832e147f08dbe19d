package pretrained

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The first digits that openai/CLIP's clip.py (_MODELS) gives, in OpenAI's spelling of the names.
var openAI = map[string]string{
	"RN50": "afeb0e10", "RN101": "8fa8567b", "RN50x4": "7e526bd1", "RN50x16": "52378b40", "RN50x64": "be1cfb55",
	"ViT-B/32": "40d36571", "ViT-B/16": "5806e77c", "ViT-L/14": "b8cca3fd", "ViT-L/14@336px": "3035c92b",
}

func TestOpenAIsNine(t *testing.T) {
	for name, hash := range openAI {
		e, err := Lookup(name, "openai")
		require.NoError(t, err)
		assert.True(t, isSHA256(e.SHA256), name)
		assert.Equal(t, hash, e.SHA256[:8], name)
		assert.Contains(t, e.URL, "/"+e.SHA256+"/", name)
		assert.True(t, e.QuickGELU, name)
		first := e.candidates()[0]
		assert.Equal(t, e.URL, first.url, "the file whose hash is known beforehand comes first")
		assert.Len(t, e.candidates(), 3)
	}
}

func TestTableFacts(t *testing.T) {
	half := [3]float32{0.5, 0.5, 0.5}
	openAIMean := [3]float32{0.48145466, 0.4578275, 0.40821073}
	for _, c := range []struct {
		model, tag string
		want       Entry // compared but for the names, URL and hash
	}{
		{"ViT-B-32", "laion2b_s34b_b79k", Entry{Repo: "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", Mean: openAIMean, ResizeMode: "shortest"}},
		{"ViT-L-14", "laion2b_s32b_b82k", Entry{Repo: "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", Mean: half, ResizeMode: "shortest"}},
		{"ViT-H-14", "dfn5b", Entry{Repo: "apple/DFN5B-CLIP-ViT-H-14", QuickGELU: true, Mean: openAIMean, ResizeMode: "squash"}},
		{"ViT-H-14", "metaclip_altogether", Entry{Repo: "timm/vit_huge_patch14_clip_224.metaclip_altogether", Mean: openAIMean, ResizeMode: "shortest"}},
		{"ViT-B-16-SigLIP", "webli", Entry{Repo: "timm/ViT-B-16-SigLIP", Mean: half, ResizeMode: "squash"}},
		{"ViT-SO400M-14-SigLIP-378", "webli", Entry{Repo: "timm/ViT-SO400M-14-SigLIP-384", Mean: half, ResizeMode: "squash"}},
		{"xlm-roberta-large-ViT-H-14", "frozen_laion5b_s13b_b90k", Entry{Repo: "laion/CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k", Mean: openAIMean, ResizeMode: "shortest"}},
		{"ViT-B-16-plus-240", "laion400m_e32", Entry{Mean: openAIMean, ResizeMode: "shortest"}}, // the hub's is e31
	} {
		got, err := Lookup(c.model, c.tag)
		require.NoError(t, err)
		assert.Equal(t, c.model, got.Model)
		assert.Equal(t, c.tag, got.Tag)
		assert.Equal(t, c.want.Repo, got.Repo, c.model)
		assert.Equal(t, c.want.QuickGELU, got.QuickGELU, c.model)
		assert.Equal(t, c.want.Mean, got.Mean, c.model)
		assert.Equal(t, c.want.ResizeMode, got.ResizeMode, c.model)
		assert.Equal(t, "bicubic", got.Interpolation, c.model)
		assert.NotZero(t, got.Std)
	}
}

func TestEveryEntryCanBeFetched(t *testing.T) {
	require.Len(t, table(), 169)
	seen := map[string]bool{}
	for _, e := range table() {
		assert.False(t, seen[e.Model+" "+e.Tag], "twice: %s %s", e.Model, e.Tag)
		seen[e.Model+" "+e.Tag] = true
		require.NotEmpty(t, e.candidates())
		for _, c := range e.candidates() {
			assert.True(t, strings.HasPrefix(c.url, "https://") != repoName.MatchString(c.repo), "%+v", c)
		}
	}
}

func TestTags(t *testing.T) {
	models := Tags()
	assert.Equal(t, ModelTags{"RN50", []string{"openai", "yfcc15m", "cc12m"}}, models[0])
	i := slices.IndexFunc(models, func(m ModelTags) bool { return m.Model == "ViT-B-16-quickgelu" })
	require.Positive(t, i)
	assert.Equal(t, []string{"openai", "dfn2b", "metaclip_400m", "metaclip_fullcc"}, models[i].Tags)
	for _, m := range models {
		for _, tag := range m.Tags {
			e, err := Lookup(m.Model, tag)
			require.NoError(t, err)
			assert.Equal(t, strings.TrimSuffix(m.Model, "-quickgelu"), e.Model)
		}
	}
}

// Every embedded config that goclip has under a published name must be found under it.
func TestNamesAreTheConfigs(t *testing.T) {
	files, err := os.ReadDir("../tower/configs")
	require.NoError(t, err)
	published := 0
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".json")
		if i := slices.IndexFunc(Tags(), func(m ModelTags) bool { return m.Model == name }); i >= 0 {
			published++
		}
	}
	assert.GreaterOrEqual(t, published, 14)
}

func TestUnknownNames(t *testing.T) {
	for _, c := range []struct{ model, tag, says string }{
		{"ViT-B-32", "laion2b", `pretrained: ViT-B-32 has no weights called "laion2b"; it has laion2b_e16, laion2b_s34b_b79k`},
		{"ViT-B-32", "opnai", `it has openai`},
		{"ViT-B-32", "laion2b_s34b_b88k", `it has laion2b_s34b_b79k`},
		{"ViT-B-32", "laion2b_s34b_b88k", `and 17 more; the tag belongs to ViT-B-16, ViT-g-14`},
		{"ViT-L-14-336", "datacomp_xl_s13b_b90k", `it has openai; the tag belongs to ViT-L-14`},
		{"ViT-B-16-quickgelu", "laion400m_e32", `it has`},
		{"ViT-B32", "openai", `called "ViT-B32"; did you mean ViT-B-32`},
		{"RN52", "openai", `did you mean RN50`},
		{"siglip", "webli", `did you mean `},
		{"", "", `called ""; did you mean `},
	} {
		_, err := Lookup(c.model, c.tag)
		require.ErrorIs(t, err, ErrNotFound)
		assert.Contains(t, err.Error(), c.says)
	}
	e, err := Lookup("ViT-B-32", "LAION2B-s34B-b79K")
	require.NoError(t, err)
	assert.Equal(t, "laion2b_s34b_b79k", e.Tag)
}
