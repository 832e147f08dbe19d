package pretrained

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Name is what a model's name means: a built-in config, with or without a published tag, or a
// repository on the hub.
type Name struct {
	Config string // the built-in config, in its own spelling; "" for a repository
	Tag    string // the published weights of Config, in the table's spelling; "" if the name has none
	Repo   string // ORG/NAME or ORG/NAME@REVISION on the Hugging Face hub; "" for a config
}

// String returns the name in the form that is documented first: ViT-B-32:openai,
// hf-hub:ORG/NAME@REVISION.
func (n Name) String() string {
	switch {
	case n.Repo != "":
		return hubPrefix + n.Repo
	case n.Tag != "":
		return n.Config + ":" + n.Tag
	default:
		return n.Config
	}
}

const hubPrefix = "hf-hub:"

// ParseName reads a model's name. configs are the names of the built-in configs.
//
//	ViT-B-32, ViT-B/32, vit-l/14@336px        a config
//	ViT-B-32:openai, ViT-B-32__openai         a config and a published tag
//	hf-hub:ORG/NAME, hf-hub:ORG/NAME@REVISION a repository on the hub
//	ORG/NAME, ORG/NAME@REVISION               the same, if no config has that name
//
// Upper and lower case, and the signs / @ - _ within a config or a tag, are the same. Files are not
// looked at: a caller who takes paths too looks for one first. ErrNotFound is inside the error for
// a name that is none of these; it suggests names that are.
func ParseName(name string, configs []string) (Name, error) {
	if len(name) > len(hubPrefix) && strings.EqualFold(name[:len(hubPrefix)], hubPrefix) {
		repo := name[len(hubPrefix):]
		if _, _, err := splitRepo(repo); err != nil {
			return Name{}, err
		}
		return Name{Repo: repo}, nil
	}
	model, tag, tagged := strings.Cut(name, ":")
	if !tagged {
		model, tag, tagged = strings.Cut(name, "__") // Immich's, because a colon is no part of a directory's name
	}
	config, ok := spelled(configs, model)
	switch {
	case ok && tagged:
		e, err := Lookup(config, tag)
		if err != nil {
			return Name{}, err
		}
		return Name{Config: config, Tag: e.Tag}, nil
	case ok:
		return Name{Config: config}, nil
	}
	if _, _, err := splitRepo(name); err == nil && strings.Contains(name, "/") && !misspelled(name, configs) {
		return Name{Repo: name}, nil
	}
	return Name{}, unknownName(name, model, configs)
}

// fold makes the spellings of a name one.
func fold(name string) string {
	return strings.NewReplacer("/", "-", "@", "-", "_", "-", "336px", "336").Replace(strings.ToLower(name))
}

// spelled is the one of the names that is spelled as name or, failing that, the first that folds to
// the same.
func spelled(names []string, name string) (string, bool) {
	if slices.Contains(names, name) {
		return name, true
	}
	i := slices.IndexFunc(names, func(other string) bool { return fold(other) == fold(name) })
	if i < 0 {
		return "", false
	}
	return names[i], true
}

// misspelled tells a config with a slip, "ViT-B/33", from a repository: the part before the slash
// begins a config.
func misspelled(name string, configs []string) bool {
	org, _, _ := strings.Cut(name, "/")
	return slices.ContainsFunc(configs, func(config string) bool { return strings.HasPrefix(fold(config), fold(org)+"-") })
}

// unknownName suggests what may have been meant.
func unknownName(name, model string, configs []string) error {
	suggestions := near(model, configs)
	for _, e := range table() { // ViT-B-32-openai
		if fold(e.Model+"-"+e.Tag) == fold(name) {
			suggestions = []string{e.Model + ":" + e.Tag}
		}
	}
	suggestions = slices.DeleteFunc(suggestions[:min(3, len(suggestions))], func(s string) bool {
		return unlikeness(fold(model), fold(s)) > len(model)/2
	})
	says := fmt.Sprintf("pretrained: no model is called %q", name)
	if len(suggestions) > 0 {
		says += fmt.Sprintf("; did you mean %s", either(suggestions))
	}
	return marked{errors.New(says + "; a repository of the Hugging Face hub is written " + hubPrefix + "ORG/NAME"), ErrNotFound}
}

// either writes "a, b or c".
func either(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

var (
	repoName     = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$`)
	revisionName = regexp.MustCompile(`^\w[\w./-]*$`)
)

const defaultRevision = "main"

// splitRepo takes ORG/NAME@REVISION apart; the revision is main where there is none.
func splitRepo(s string) (repo, revision string, err error) {
	repo, revision, ok := strings.Cut(s, "@")
	if !ok {
		revision = defaultRevision
	}
	if !repoName.MatchString(repo) || strings.Contains(repo, "..") || strings.Contains(repo, `--`) {
		return "", "", marked{fmt.Errorf("pretrained: %q is not a repository of the Hugging Face hub; it must be like ORG/NAME or ORG/NAME@REVISION", s), ErrNotFound}
	}
	if !revisionName.MatchString(revision) || strings.Contains(revision, "..") || strings.Contains(revision, "//") || strings.HasSuffix(revision, "/") {
		return "", "", marked{fmt.Errorf("pretrained: %q: %q is not a revision; it must be a branch, a tag or a commit", s, revision), ErrNotFound}
	}
	return repo, revision, nil
}

// repoWith is the reverse of splitRepo.
func repoWith(repo, revision string) string {
	if revision == defaultRevision {
		return repo
	}
	return repo + "@" + revision
}
