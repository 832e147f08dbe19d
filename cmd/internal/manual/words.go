package manual

import (
	"runtime/debug"
	"slices"

	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
)

// CLIPWords returns the names that the flags of both commands take.
func CLIPWords() Words {
	tags := []string{"random"}
	for _, m := range pretrained.Tags() {
		tags = append(tags, m.Tags...)
	}
	slices.Sort(tags)
	return Words{
		"models":    tower.ConfigNames(),
		"tags":      slices.Compact(tags),
		"templates": {"openai_imagenet_7", "openai_imagenet_80"},
	}
}

// CacheEnvironment returns the environment that both commands look at when they open a model.
func CacheEnvironment() []Entry {
	return []Entry{
		{"GOCLIP_CACHE", "The directory of goclip's cache, in place of $XDG_CACHE_HOME/goclip or ~/.cache/goclip."},
		{"GOCLIP_MIRROR", "The server that published weights are fetched from, in place of their own."},
		{"HF_HOME, HF_HUB_CACHE", "Where Hugging Face's cache is, in which published weights are looked for."},
		{"HF_ENDPOINT, HF_TOKEN", "Another hub than Hugging Face's own, and the token for it."},
	}
}

// BuildDate returns the day of the commit that the program was built from, or "".
func BuildDate() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" && len(s.Value) >= 10 {
			return s.Value[:10]
		}
	}
	return ""
}
