package manual

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// About is what a man page says that the tree does not know.
type About struct {
	Summary     string // "CLIP on the command line": NAME's half line
	Version     string
	Date        string  // of the version, 2006-01-02, or ""
	Exit        []Entry // exit statuses
	Environment []Entry
	Files       []Entry
	SeeAlso     []string // "train(1)"
}

// Entry is a name and what is said of it.
type Entry struct{ Name, Text string }

// Page returns the man page, in the macros man(7).
func Page(app *kong.Application, about About) string {
	t := read(app, nil)
	p := &page{}
	fmt.Fprintf(p, ".TH %s 1 \"%s\" \"%s\" \"User Commands\"\n", strings.ToUpper(t.name), about.Date, about.Version)
	p.section("NAME")
	p.text(t.name + ` \- ` + escape(about.Summary))
	p.section("SYNOPSIS")
	for i, c := range t.all() {
		if i > 0 {
			p.text(".br")
		}
		p.synopsis(t.name, c)
	}
	p.section("DESCRIPTION")
	p.paragraphs(app.Help)
	if len(t.commands) > 0 {
		p.section("COMMANDS")
		for _, c := range t.commands {
			p.text(".SS " + escape(t.name+" "+c.name))
			p.paragraphs(c.help)
			p.arguments(c)
			p.flags(c.flags)
			if strings.HasPrefix(c.detail, "  ") {
				p.text(".PP\nExamples:")
			} else if c.detail != "" {
				p.text(".PP")
			}
			p.paragraphs(c.detail)
		}
	}
	p.section("OPTIONS")
	p.arguments(t.root)
	p.flags(t.root.flags)
	for _, s := range []struct {
		title   string
		entries []Entry
	}{{"EXIT STATUS", about.Exit}, {"ENVIRONMENT", about.Environment}, {"FILES", about.Files}} {
		if len(s.entries) > 0 {
			p.section(s.title)
		}
		for _, e := range s.entries {
			p.item(`\fB`+escape(e.Name)+`\fR`, e.Text)
		}
	}
	if len(about.SeeAlso) > 0 {
		p.section("SEE ALSO")
		p.text(escape(strings.Join(about.SeeAlso, ", ")))
	}
	return p.String()
}

type page struct{ strings.Builder }

func (p *page) section(title string) { fmt.Fprintf(p, ".SH %s\n", title) }

// text writes what is escaped already.
func (p *page) text(text string) { p.WriteString(text + "\n") }

// paragraphs writes prose; what is indented stands as it is.
func (p *page) paragraphs(text string) {
	if text == "" {
		return
	}
	for i, part := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if strings.HasPrefix(part, "  ") {
			p.verbatim(part)
			continue
		}
		if i > 0 {
			p.text(".PP")
		}
		p.text(wrap(escape(part)))
	}
}

func (p *page) verbatim(text string) {
	p.text(".PP\n.nf\n" + escape(strings.TrimRight(text, "\n")) + "\n.fi")
}

// synopsis is a line of the command with its required flags and its arguments.
func (p *page) synopsis(name string, c command) {
	words := []string{`\fB` + escape(strings.TrimSpace(name+" "+c.name)) + `\fR`}
	for _, f := range c.flags {
		if f.required {
			words = append(words, flagText(f))
		}
	}
	words = append(words, `[\fIflags\fR]`)
	for i, a := range c.args {
		words = append(words, argumentText(a, c.required[i]))
	}
	p.text(strings.Join(words, " "))
}

func argumentText(a value, required bool) string {
	text := `\fI` + escape(a.placeholder) + `\fR`
	if a.repeats {
		text += " ..."
	}
	if !required {
		text = "[" + text + "]"
	}
	return text
}

func flagText(f flag) string {
	var all []string
	for _, s := range f.spellings() {
		all = append(all, `\fB`+escape(s)+`\fR`)
	}
	text := strings.Join(all, ", ")
	if !f.switches {
		text += ` \fI` + escape(f.placeholder) + `\fR`
	}
	return text
}

func (p *page) arguments(c command) {
	for i, a := range c.args {
		p.item(argumentText(a, c.required[i]), a.help)
	}
}

func (p *page) flags(flags []flag) {
	for _, f := range flags {
		help := f.help
		if f.def != "" && !f.switches {
			help += " The default is " + strings.ReplaceAll(f.def, "\t", `\t`) + "."
		}
		p.item(flagText(f), help)
	}
}

// item is a term, escaped already, and what is said of it.
func (p *page) item(term, text string) {
	p.text(".TP\n" + term + "\n" + wrap(escape(text)))
}

// wrap breaks prose at blanks into lines that fit a terminal, as source in roff should.
func wrap(text string) string {
	const width = 78
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	return keepDots(strings.Join(append(lines, line), "\n"))
}

// escape keeps roff from reading text as its own: backslashes, hyphens that must stay such, and a
// dot or an apostrophe at the beginning of a line.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	return keepDots(text)
}

func keepDots(text string) string {
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return strings.ReplaceAll(text, "\n.", "\n\\&.")
}
