// Package manual writes what can be told of a command line without running it: completions for
// bash, zsh and fish, and a man page. Everything comes from the tree that kong parses with, so that
// nothing is listed twice.
//
// kongplete and its kin were looked at and not taken: they hand each Tab to the program, which here
// loads 450 MB of libraries first, know bash's protocol alone, and stand on packages that nobody
// has kept for years.
package manual

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Words are what the values of flags and arguments can be, by the name that stands in their tag
// `complete`: "models" for clip's configs. A tag that is no name here holds the words themselves,
// with commas between.
type Words map[string][]string

// places says which files complete a value, besides its words.
type places int

const (
	noFiles places = iota
	anyFiles
	directories
)

// value is what a flag takes, or an argument.
type value struct {
	placeholder string
	help        string
	def         string
	words       []string
	files       places
	repeats     bool
}

type flag struct {
	value
	long, short string // short without its hyphen, or ""
	switches    bool   // it takes nothing
	required    bool
	group       string
	env         []string
}

// spellings are the flag as it is typed.
func (f flag) spellings() []string {
	if f.short == "" {
		return []string{"--" + f.long}
	}
	return []string{"-" + f.short, "--" + f.long}
}

// command is the program itself or one of its commands.
type command struct {
	name     string // "" of the program
	help     string
	detail   string // the examples
	flags    []flag // --help among them
	args     []value
	required []bool // of args
}

// tree is the program's own flags and its commands.
type tree struct {
	name     string
	root     command
	commands []command
}

func read(app *kong.Application, words Words) tree {
	t := tree{name: app.Name, root: readCommand(app.Node, words)}
	t.root.name = ""
	var help []flag
	for _, f := range t.root.flags {
		if f.long == "help" {
			help = append(help, f)
		}
	}
	for _, n := range app.Children {
		if n.Hidden {
			continue
		}
		c := readCommand(n, words)
		c.flags = append(help[:len(help):len(help)], c.flags...)
		t.commands = append(t.commands, c)
	}
	return t
}

func readCommand(n *kong.Node, words Words) command {
	c := command{name: n.Name, help: n.Help, detail: n.Detail}
	for _, f := range n.Flags {
		if f.Hidden {
			continue
		}
		out := flag{value: readValue(f.Value, f.PlaceHolder, words), long: f.Name, switches: f.IsBool(), required: f.Required, env: f.Envs}
		if f.Short != 0 {
			out.short = string(f.Short)
		}
		if f.Group != nil {
			out.group = f.Group.Title
		}
		if out.placeholder = f.PlaceHolder; out.placeholder == "" {
			out.placeholder = strings.ToUpper(f.Name)
		}
		c.flags = append(c.flags, out)
	}
	for _, p := range n.Positional {
		v := readValue(p, p.Name, words)
		c.args, c.required = append(c.args, v), append(c.required, p.Required)
	}
	return c
}

func readValue(v *kong.Value, placeholder string, words Words) value {
	out := value{placeholder: placeholder, help: v.Help, def: v.Default, repeats: v.IsCumulative(), files: anyFiles}
	complete := v.Tag.Get("complete")
	switch {
	case v.Enum != "":
		out.words, out.files = slices.DeleteFunc(v.EnumSlice(), func(w string) bool { return w == "" }), noFiles
	case complete == "files":
	case complete == "dirs":
		out.files = directories
	case complete == "none":
		out.files = noFiles
	case complete != "":
		list, known := words[complete]
		if !known {
			list, out.files = strings.Split(complete, ","), noFiles
		}
		out.words = list
	case placeholder == "DIR":
		out.files = directories
	case slices.Contains([]string{"FILE", "PATH", "path"}, placeholder):
	case v.Target.Kind().String() != "string" && !v.IsSlice(), v.Flag != nil && placeholder != "":
		out.files = noFiles // a number, a date, a name
	}
	return out
}

// Completion is that for one of the shells: bash, zsh or fish.
func Completion(shell string, app *kong.Application, words Words) string {
	switch shell {
	case "bash":
		return Bash(app, words)
	case "zsh":
		return Zsh(app, words)
	default:
		return Fish(app, words)
	}
}

// firstClause is the beginning of a help text, for a list that shows a line of each.
func firstClause(help string) string {
	for i, r := range help {
		if (r == '.' || r == ';' || r == ':') && (i+1 == len(help) || help[i+1] == ' ') {
			return help[:i]
		}
	}
	return help
}
