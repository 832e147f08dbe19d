package pretrained

import (
	"encoding/json"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// configs are the names of the configs that clip has.
func configs(t *testing.T) []string {
	t.Helper()
	files, err := os.ReadDir("../tower/configs")
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".json"))
	}
	require.NotEmpty(t, names)
	return names
}

func TestParseName(t *testing.T) {
	for name, want := range map[string]Name{
		"ViT-B-32":                      {Config: "ViT-B-32"},
		"ViT-B/32":                      {Config: "ViT-B-32"},
		"vit-b/32":                      {Config: "ViT-B-32"},
		"ViT-L/14@336px":                {Config: "ViT-L-14-336"},
		"vit_l_14_336":                  {Config: "ViT-L-14-336"},
		"emoji-64":                      {Config: "emoji-64"},
		"ViT-B-32:openai":               {Config: "ViT-B-32", Tag: "openai"},
		"ViT-B-32__openai":              {Config: "ViT-B-32", Tag: "openai"},
		"VIT-B/32:OpenAI":               {Config: "ViT-B-32", Tag: "openai"},
		"ViT-L/14@336px:openai":         {Config: "ViT-L-14-336", Tag: "openai"},
		"ViT-B-32__laion2b-s34b-b79k":   {Config: "ViT-B-32", Tag: "laion2b_s34b_b79k"},
		"ViT-B-32:LAION2B-s34B-b79K":    {Config: "ViT-B-32", Tag: "laion2b_s34b_b79k"},
		"ViT-H-14-378-quickgelu__dfn5b": {Config: "ViT-H-14-378-quickgelu", Tag: "dfn5b"},
		"XLM-Roberta-Large-ViT-H-14__frozen_laion5b_s13b_b90k": {Config: "xlm-roberta-large-ViT-H-14", Tag: "frozen_laion5b_s13b_b90k"},
		"ViT-SO400M-14-SigLIP-384__webli":                      {Config: "ViT-SO400M-14-SigLIP-384", Tag: "webli"},
		"openai/clip-vit-base-patch32":                         {Repo: "openai/clip-vit-base-patch32"},
		"openai/clip-vit-base-patch32@v1.0":                    {Repo: "openai/clip-vit-base-patch32@v1.0"},
		"hf-hub:openai/clip-vit-base-patch32":                  {Repo: "openai/clip-vit-base-patch32"},
		"HF-hub:timm/ViT-B-16-SigLIP@refs/pr/1":                {Repo: "timm/ViT-B-16-SigLIP@refs/pr/1"},
		"hf-hub:ViT-B/32":                                      {Repo: "ViT-B/32"},
		"immich-app/ViT-B-32__openai":                          {Repo: "immich-app/ViT-B-32__openai"},
	} {
		got, err := ParseName(name, append(configs(t), "emoji-64"))
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
		again, err := ParseName(got.String(), append(configs(t), "emoji-64"))
		require.NoError(t, err, got.String())
		assert.Equal(t, got, again, "String is a name of the same")
	}
}

func TestParseNameOfNothing(t *testing.T) {
	for name, says := range map[string]string{
		"ViT-B32":              `pretrained: no model is called "ViT-B32"; did you mean ViT-B-32,`,
		"ViT-B-32-openai":      `did you mean ViT-B-32:openai; a repository`,
		"RN52":                 `did you mean RN50`,
		"siglip2":              `did you mean ViT-B-16-SigLIP2`,
		"C:\\models\\clip":     `no model is called "C:\\models\\clip"; a repository`,
		"ViT-B/33":             `did you mean ViT-B-32`,
		"ViTB32:openai":        `did you mean ViT-B-32`,
		"":                     `no model is called ""`,
		"ViT-B-32:opnai":       `ViT-B-32 has no weights called "opnai"; it has openai`,
		"ViT-B-32:":            `ViT-B-32 has no weights called ""`,
		"ViT-L-14-336:dfn2b":   `ViT-L-14-336 has no weights called "dfn2b"; it has openai; the tag belongs to `,
		"ViT-M-16:openai":      `no weights are published for a model called "ViT-M-16"`,
		"a/b/c":                `pretrained: no model is called "a/b/c"; a repository of the Hugging Face hub is written hf-hub:ORG/NAME`,
		"../models/clip":       `no model is called "../models/clip"`,
		"hf-hub:":              `no model is called "hf-hub:"`,
		"hf-hub:a/b/c":         `"a/b/c" is not a repository of the Hugging Face hub; it must be like ORG/NAME`,
		"hf-hub:../etc":        `"../etc" is not a repository`,
		"hf-hub:a--b/c":        `"a--b/c" is not a repository`,
		"hf-hub:org/name@":     `"" is not a revision; it must be a branch, a tag or a commit`,
		"hf-hub:org/name@../x": `"../x" is not a revision`,
		"hf-hub:org/name@a b":  `"a b" is not a revision`,
	} {
		got, err := ParseName(name, configs(t))
		require.ErrorIs(t, err, ErrNotFound, name)
		assert.ErrorContains(t, err, says, name)
		assert.Equal(t, Name{}, got)
	}
	_, err := ParseName("ViT-B-33", configs(t))
	_, meant, _ := strings.Cut(err.Error(), "did you mean ")
	meant, _, _ = strings.Cut(meant, ";")
	assert.Len(t, strings.Split(strings.ReplaceAll(meant, " or ", ", "), ", "), 3, meant)
}

// pair is what open_clip 3.3.0 fetches for a model and tag; testdata/pretrained/make_table.py
// writes the file.
type pair struct {
	Model, Tag, URL string
	Hub             string `json:"hf_hub"`
}

func openCLIPsPairs(t *testing.T) []pair {
	t.Helper()
	text, err := os.ReadFile("testdata/open_clip_3.3.0.json")
	require.NoError(t, err)
	var pairs []pair
	require.NoError(t, json.Unmarshal(text, &pairs))
	require.Len(t, pairs, 196)
	return pairs
}

// fetched is the file that open_clip takes (src/open_clip/pretrained.py download_pretrained): the
// hub's if it has one.
func (p pair) fetched() (repo, file, url string) {
	if p.Hub == "" {
		return "", "", p.URL
	}
	repo, file = path.Split(p.Hub)
	return strings.TrimSuffix(repo, "/"), file, ""
}

// Every pair of open_clip whose config is there has a row, in any spelling, and the row leads to
// open_clip's file.
func TestEveryPairOfOpenCLIP(t *testing.T) {
	names := configs(t)
	resolved := 0
	for _, p := range openCLIPsPairs(t) {
		resolved++
		want := Name{Config: p.Model, Tag: p.Tag}
		for _, spelled := range []string{p.Model + ":" + p.Tag, p.Model + "__" + p.Tag, strings.ToUpper(p.Model + ":" + p.Tag),
			strings.ReplaceAll(p.Model, "-", "/") + ":" + strings.ReplaceAll(p.Tag, "_", "-")} {
			got, err := ParseName(spelled, names)
			require.NoError(t, err)
			assert.Equal(t, want, got, spelled)
		}
		e, err := Lookup(p.Model, p.Tag)
		require.NoError(t, err)
		if p.Model == "ViT-B-16-plus-240" && p.Tag == "laion400m_e32" {
			assert.Contains(t, p.URL, "laion400m_e32", "open_clip gives this tag the repository of e31")
			p.Hub = ""
		}
		repo, file, url := p.fetched()
		i := slices.IndexFunc(e.candidates(), func(c candidate) bool { return c.repo == repo && c.url == url })
		require.GreaterOrEqual(t, i, 0, "%s %s", p.Model, p.Tag)
		c := e.candidates()[i]
		if file == "" && repo != "" {
			file = "open_clip_model.safetensors" // what it asks for first
		}
		if stem, ok := strings.CutSuffix(file, ".bin"); ok { // whose safetensors form it asks for before
			assert.Equal(t, stem+".safetensors", c.file)
			c = e.candidates()[i+1]
		}
		if repo != "" {
			assert.Equal(t, file, c.file)
		}
		if i > 0 {
			assert.Equal(t, "openai", p.Tag, "only a hash that is known beforehand goes before open_clip's choice")
		}
	}
	assert.Equal(t, 196, resolved)
}

// A row may name its file; the safetensors form of it is asked for first.
func TestNamedFile(t *testing.T) {
	files := func(e Entry) (out []string) {
		for _, c := range e.candidates() {
			out = append(out, c.repo+" "+c.file)
		}
		return out
	}
	assert.Equal(t, []string{"a/b pytorch_model.safetensors", "a/b pytorch_model.bin"}, files(Entry{Repo: "a/b", File: "pytorch_model.bin"}))
	assert.Equal(t, []string{"a/b model.npz"}, files(Entry{Repo: "a/b", File: "model.npz"}))
	assert.Equal(t, []string{"a/b open_clip_model.safetensors", "a/b open_clip_pytorch_model.bin"}, files(Entry{Repo: "a/b"}))
}
