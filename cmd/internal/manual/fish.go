package manual

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Fish returns the completion for fish 3 and newer, a file in its directory completions.
func Fish(app *kong.Application, words Words) string {
	t := read(app, words)
	var b strings.Builder
	fmt.Fprintf(&b, "# Completion of %[1]s for fish, written by %[1]s itself.\ncomplete -c %[1]s -f\n", t.name)
	line := func(condition, rest string) {
		if condition != "" {
			condition = " -n " + fishQuote(condition)
		}
		fmt.Fprintf(&b, "complete -c %s%s%s\n", t.name, condition, rest)
	}
	flags := func(condition string, flags []flag) {
		for _, f := range flags {
			text := " -l " + f.long
			if f.short != "" {
				text = " -s " + f.short + text
			}
			if !f.switches {
				text += fishValue(f.value, true)
			}
			line(condition, text+" -d "+fishQuote(firstClause(f.help)))
		}
	}
	if len(t.commands) == 0 {
		flags("", t.root.flags)
		line("", fishValue(merged(t.root.args), false))
		return b.String()
	}
	flags("__fish_use_subcommand", t.root.flags)
	for _, c := range t.commands {
		line("__fish_use_subcommand", " -a "+c.name+" -d "+fishQuote(firstClause(c.help)))
	}
	for _, c := range t.commands {
		condition := "__fish_seen_subcommand_from " + c.name
		flags(condition, c.flags)
		if len(c.args) > 0 {
			line(condition, fishValue(merged(c.args), false))
		}
	}
	return b.String()
}

// fishValue offers words and files; fish has no directories alone without a call of its own
// functions.
func fishValue(v value, required bool) string {
	text := ""
	switch {
	case required && v.files == noFiles:
		text = " -x"
	case required && v.files == anyFiles:
		text = " -r -F"
	case required:
		text = " -x"
	case v.files == anyFiles:
		text = " -F"
	}
	words := strings.Join(v.words, " ")
	if v.files == directories {
		words = strings.TrimSpace(words + " (__fish_complete_directories)")
	}
	if words != "" {
		text += " -a " + fishQuote(words)
	}
	return text
}

func fishQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}
