package pretrained

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBest(t *testing.T) {
	small, large := Downloaded{Name: Name{Config: "ViT-B-32", Tag: "openai"}}, Downloaded{Name: Name{Config: "ViT-L-14", Tag: "openai"}}
	siglip2, bad := Downloaded{Name: Name{Config: "ViT-B-16-SigLIP2", Tag: "webli"}}, Downloaded{Name: Name{Config: "ViT-B-32", Tag: "commonpool_s_s13m_b4k"}}
	hub, toy := Downloaded{Name: Name{Repo: "openai/clip-vit-base-patch16"}}, Downloaded{Name: Name{Repo: "hf-internal-testing/tiny-random-CLIPModel"}}
	for _, c := range []struct {
		of   []Downloaded
		want Downloaded
	}{
		{[]Downloaded{small, large, bad, toy}, large}, {[]Downloaded{small, siglip2}, siglip2}, {[]Downloaded{siglip2, large}, large},
		{[]Downloaded{small, hub}, hub}, {[]Downloaded{toy, bad}, bad},
	} {
		got, ok := Best(c.of)
		assert.True(t, ok)
		assert.Equal(t, c.want, got)
	}
	_, ok := Best([]Downloaded{toy})
	assert.False(t, ok)
	for name, top1 := range imagenet() {
		assert.True(t, top1 > 0 && top1 < 1, name)
		if name.Config != "" {
			_, err := Lookup(name.Config, name.Tag)
			assert.NoError(t, err)
		}
	}
}
