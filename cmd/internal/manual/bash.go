package manual

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Bash returns the completion for bash 4 and newer, to be sourced. It needs no bash-completion package.
func Bash(app *kong.Application, words Words) string {
	t := read(app, words)
	var b strings.Builder
	fn := "_" + t.name
	fmt.Fprintf(&b, `# Completion of %[1]s for bash, written by %[1]s itself.
%[2]s() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= flags= i
  COMPREPLY=()
  # bash makes words of their own of = and :
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=${COMP_WORDS[COMP_CWORD-2]}
  fi
`, t.name, fn)
	if len(t.commands) > 0 {
		var names []string
		for _, c := range t.commands {
			names = append(names, c.name)
		}
		fmt.Fprintf(&b, `  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ ${COMP_WORDS[i]} != -* ]]; then
      command=${COMP_WORDS[i]}
      break
    fi
  done
  if [[ -z $command ]]; then
    COMPREPLY=($(compgen -W %s -- "$cur"))
    return
  fi
`, quote(strings.Join(append(names, spellings(t.root.flags)...), " ")))
	}
	b.WriteString("  case \"$command $prev\" in\n")
	var actions []string
	patterns := map[string][]string{} // of an action
	for _, c := range t.all() {
		for _, f := range c.flags {
			if f.switches {
				continue
			}
			action := bashValue(f.value)
			if patterns[action] == nil {
				actions = append(actions, action)
			}
			for _, s := range f.spellings() {
				patterns[action] = append(patterns[action], quote(c.name+" "+s))
			}
		}
	}
	for _, action := range actions {
		fmt.Fprintf(&b, "  %s)\n    %s\n    return ;;\n", strings.Join(patterns[action], " | "), action)
	}
	b.WriteString("  esac\n  case $command in\n")
	for _, c := range t.all() {
		fmt.Fprintf(&b, "  %s)\n    flags=%s\n", quote(c.name), quote(strings.Join(spellings(c.flags), " ")))
		fmt.Fprintf(&b, "    if [[ $cur != -* ]]; then\n      %s\n      return\n    fi ;;\n", bashValue(merged(c.args)))
	}
	fmt.Fprintf(&b, `  esac
  COMPREPLY=($(compgen -W "$flags" -- "$cur"))
}
complete -F %s %s
`, fn, t.name)
	return b.String()
}

// all are the commands, or the program where it has none.
func (t tree) all() []command {
	if len(t.commands) == 0 {
		return []command{t.root}
	}
	return t.commands
}

// bashValue offers the words and the files.
func bashValue(v value) string {
	var parts []string
	if v.files != noFiles {
		action := map[places]string{anyFiles: "-f", directories: "-d"}[v.files]
		parts = append(parts, fmt.Sprintf(`compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen %s -- "$cur")`, action))
	}
	if len(v.words) > 0 {
		parts = append(parts, fmt.Sprintf(`COMPREPLY+=($(compgen -W %s -- "$cur"))`, quote(strings.Join(v.words, " "))))
	}
	if len(parts) == 0 {
		return ":"
	}
	return strings.Join(parts, "; ")
}

// merged completes as any of a command's arguments does.
func merged(args []value) (v value) {
	for _, a := range args {
		v.words = append(v.words, a.words...)
		if a.files != noFiles && v.files != anyFiles {
			v.files = a.files
		}
	}
	return v
}

func spellings(flags []flag) (list []string) {
	for _, f := range flags {
		list = append(list, f.spellings()...)
	}
	return list
}

// quote makes one word of a text in bash, zsh and POSIX's shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
