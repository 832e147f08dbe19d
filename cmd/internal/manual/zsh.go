package manual

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Zsh returns the completion for zsh: a file _NAME in a directory of fpath, or to be sourced after
// compinit.
func Zsh(app *kong.Application, words Words) string {
	t := read(app, words)
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %[1]s\n# Completion of %[1]s for zsh, written by %[1]s itself.\n_%[1]s() {\n", t.name)
	if len(t.commands) == 0 {
		b.WriteString("  _arguments -s \\\n" + zshSpecs(t.root, "    "))
	} else {
		b.WriteString("  local context state line\n  typeset -A opt_args\n  _arguments -C \\\n")
		for _, f := range t.root.flags {
			fmt.Fprintf(&b, "    %s \\\n", zshFlag(f))
		}
		b.WriteString("    '1:command:->command' '*::argument:->argument'\n  case $state in\n  command)\n    local -a commands=(\n")
		for _, c := range t.commands {
			fmt.Fprintf(&b, "      %s\n", quote(c.name+":"+firstClause(c.help)))
		}
		b.WriteString("    )\n    _describe command commands ;;\n  argument)\n    case $line[1] in\n")
		for _, c := range t.commands {
			fmt.Fprintf(&b, "    %s)\n      _arguments -s \\\n%s      ;;\n", c.name, zshSpecs(c, "        "))
		}
		b.WriteString("    esac ;;\n  esac\n")
	}
	fmt.Fprintf(&b, `}
if [[ $funcstack[1] == _%[1]s ]]; then
  _%[1]s "$@"
else
  compdef _%[1]s %[1]s
fi
`, t.name)
	return b.String()
}

// zshSpecs are the lines of _arguments for a command's flags and arguments.
func zshSpecs(c command, indent string) string {
	var specs []string
	for _, f := range c.flags {
		specs = append(specs, zshFlag(f))
	}
	for i, a := range c.args {
		place := fmt.Sprint(i + 1)
		if a.repeats {
			place = "*"
		}
		specs = append(specs, quote(place+":"+zshText(a.placeholder)+":"+zshAction(a)))
	}
	return indent + strings.Join(specs, " \\\n"+indent) + "\n"
}

// zshFlag is '*--format=[What it prints]:FORMAT:(table json)', once for each spelling.
func zshFlag(f flag) string {
	help := "[" + zshText(firstClause(f.help)) + "]"
	var specs []string
	for _, s := range f.spellings() {
		spec := s
		if !f.switches && strings.HasPrefix(s, "--") {
			spec += "="
		}
		spec += help
		if f.repeats {
			spec = "*" + spec
		}
		if !f.switches {
			spec += ":" + zshText(f.placeholder) + ":" + zshAction(f.value)
		}
		specs = append(specs, quote(spec))
	}
	return strings.Join(specs, " ")
}

func zshAction(v value) string {
	files := map[places]string{noFiles: "", anyFiles: "_files", directories: "_files -/"}[v.files]
	if len(v.words) == 0 {
		return files
	}
	list := "(" + strings.ReplaceAll(strings.Join(v.words, " "), ":", `\:`) + ")"
	if files == "" {
		return list
	}
	return fmt.Sprintf(` _alternative "words\:word\:%s" "files\:file\:%s"`, list, files) // the blank has it called as it stands
}

// zshText hides what _arguments reads as its own.
func zshText(text string) string {
	return strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(text)
}
