package manual

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type countFlags struct {
	Model  string   `help:"A model: 'its' name; or a [file]." default:"small" complete:"models"`
	Format string   `help:"table or json." default:"table" enum:"table,json"`
	Text   []string `short:"t" help:"Words." complete:"none"`
	Out    string   `help:"Where to." placeholder:"DIR" required:""`
	Device string   `help:"The device." complete:"auto,cuda:0"`
	Top    int      `help:"How many." default:"3" group:"Answer"`
	Deep   bool     `help:"Look closer."`
	Secret string   `hidden:""`
}

type grammar struct {
	Version kong.VersionFlag `help:"Say the version."`
	Count   struct {
		countFlags
		Paths []string `arg:"" optional:"" help:"Images."`
	} `cmd:"" help:"Counts things. Slowly."`
	Make struct {
		Target string `arg:"" help:"What to make." complete:"models"`
	} `cmd:"" help:"Makes things."`
	Hidden struct{} `cmd:"" hidden:""`
}

var words = Words{"models": {"small", "smaller", "vast"}}

// trees are a program with commands and one without, both called thing.
func trees(t *testing.T) (commands, flat *kong.Application) {
	t.Helper()
	commandsParser, err := kong.New(&grammar{}, kong.Name("thing"), kong.Description("A thing.\n\n  thing count -t a\n\n.dotted: it's -done-."))
	require.NoError(t, err)
	flatParser, err := kong.New(&struct {
		countFlags
		Where []string `arg:"" optional:"" complete:"dirs"`
	}{}, kong.Name("thing"))
	require.NoError(t, err)
	return commandsParser.Model, flatParser.Model
}

// completionCases are what Tab finds after a line, in every shell. has and lacks are words of the
// answer.
var completionCases = []struct {
	line, has, lacks string
	flat             bool // the program without commands
}{
	{"thing co", "count", "make hidden", false},
	{"thing ", "count make", "hidden", false},
	{"thing --v", "--version", "--help --model", false},
	{"thing count --fo", "--format", "--model", false},
	{"thing count --", "--model --format --text --out --deep --help", "--secret --version", false},
	{"thing count --format ", "table json", "pictures", false},
	{"thing count --format t", "table", "json", false},
	{"thing count --format=j", "json", "table", false},
	{"thing count --deep --model sm", "small smaller", "vast", false},
	{"thing count --model pic", "pictures", "vast", false},
	{"thing count --out pic", "pictures", "picture.txt", false},
	{"thing count pic", "pictures picture.txt", "count", false},
	{"thing make v", "vast", "small", false},
	{"thing make --d", "", "--deep", false},
	{"thing --fo", "--format", "--model", true},
	{"thing --model va", "vast", "small", true},
	{"thing --device a", "auto", "cuda", true},
	{"thing pic", "pictures", "picture.txt", true},
}

// TestCompletion presses Tab in the real shells.
func TestCompletion(t *testing.T) {
	commands, flat := trees(t)
	for _, shell := range []struct {
		name    string
		write   func(*kong.Application, Words) string
		program string // $1: the script, $2: the line
	}{
		{"bash", Bash, `source "$1"; line=$2; trailing=; [[ $line == *' ' ]] && trailing=1
			COMP_WORDS=(${line//=/ = }); [[ $trailing ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _thing; printf '%s\n' "${COMPREPLY[@]}"`},
		{"fish", Fish, `source $argv[1]; complete -C $argv[2] | string replace -r '\t.*' '' | string replace -r -- '^--[^=]*=' ''; true`},
		{"zsh", Zsh, zshTab},
	} {
		t.Run(shell.name, func(t *testing.T) {
			if _, err := exec.LookPath(shell.name); err != nil {
				t.Skipf("%s is not installed: its completion was not tried", shell.name)
			}
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "pictures"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "picture.txt"), nil, 0o644))
			for _, c := range completionCases {
				app := commands
				if c.flat {
					app = flat
				}
				script := filepath.Join(t.TempDir(), "_thing")
				require.NoError(t, os.WriteFile(script, []byte(shell.write(app, words)), 0o644))
				args := []string{"-c", shell.program, shell.name, script, c.line}
				if shell.name == "fish" { // which has no $0
					args = append(args[:2], args[3:]...)
				}
				cmd := exec.Command(shell.name, args...)
				cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir, "LC_ALL=C.UTF-8")
				var errs bytes.Buffer
				cmd.Stderr = &errs
				out, err := cmd.Output()
				require.NoError(t, err, "%s: %s", c.line, errs.String())
				assert.Empty(t, errs.String(), c.line)
				found := strings.Fields(string(out))
				for i := range found {
					found[i] = strings.TrimSuffix(found[i], "/")
				}
				for _, w := range strings.Fields(c.has) {
					assert.Contains(t, found, w, "%q", c.line)
				}
				for _, w := range strings.Fields(c.lacks) {
					assert.NotContains(t, found, w, "%q", c.line)
				}
			}
		})
	}
}

// zshTab runs an interactive zsh on a terminal of its own, whose completion prints what it would
// offer: compadd is called with -O for that, which stores the matches.
const zshTab = `
zmodload zsh/zpty
zpty shell zsh -f -i
reply() { local text= line; while zpty -r shell line "*$1*" 2>/dev/null; do text+=$line; [[ $text == *$1* ]] && break; done; print -r -- "$text" }
zpty -w shell 'PROMPT=; RPROMPT=; unsetopt zle_bracketed_paste 2>/dev/null; stty -echo; autoload -Uz compinit; compinit -u -D; source '"$1"
zpty -w shell 'compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)* ]]; then builtin compadd "$@"; return $?; fi
  local -a hits; builtin compadd -O hits "$@"; (( $#hits )) && found+=("${hits[@]}"); builtin compadd "$@" }
list() { typeset -ga found=(); _main_complete; compstate[insert]= compstate[list]=; print -rl -- "BEGIN<" "${found[@]}" ">END" > '"$1.found"'; zle -M "" }
zle -C list complete-word list; bindkey "^I" list; echo READ""Y'
reply READY >/dev/null
zpty -n -w shell "$2"$'\t'
for i in {1..100}; do [[ -s $1.found && "$(<$1.found)" == *'>END'* ]] && break; sleep 0.05; done
zpty -d shell
grep -v -e 'BEGIN<' -e '>END' "$1.found" || true
`

// TestPage reads the page with the programs that render it.
func TestPage(t *testing.T) {
	commands, flat := trees(t)
	about := About{Summary: "count -things-", Version: "thing 1.0", Date: "2026-11-25",
		Exit: []Entry{{"0", "Done."}}, Environment: []Entry{{"THING_HOME", "Where it's at.\n.not a macro"}}, SeeAlso: []string{"other(1)"}}
	page := Page(commands, about)
	for _, text := range []string{`\fB\-t\fR, \fB\-\-text\fR \fITEXT\fR`, "The default is 3.", ".SS thing count", "[\\fIpaths\\fR ...]", "\n\\&.dotted: it\\(aqs \\-done\\-."} {
		assert.Contains(t, page, text)
	}
	assert.NotContains(t, page, "secret")
	assert.NotContains(t, page, "hidden")
	for _, p := range []string{page, Page(flat, about)} {
		file := filepath.Join(t.TempDir(), "thing.1")
		require.NoError(t, os.WriteFile(file, []byte(p), 0o644))
		rendered(t, file)
	}
}

// rendered reads a page with mandoc's lint and groff's warnings, where they are installed: neither
// may say a word.
func rendered(t *testing.T, file string) {
	t.Helper()
	for _, program := range [][]string{{"mandoc", "-Tlint", "-Wwarning", file}, {"groff", "-man", "-Tutf8", "-ww", "-z", file}} {
		if _, err := exec.LookPath(program[0]); err != nil {
			t.Logf("%s is not installed: the page was not read with it", program[0])
			continue
		}
		out, err := exec.Command(program[0], program[1:]...).CombinedOutput()
		assert.NoError(t, err)
		assert.Empty(t, string(out), "%v", program)
	}
}
