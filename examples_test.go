package goclip_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestExamplesFromAnotherModule builds the programs of examples/ as a user would have them and runs them: another module,
// goclip's sources read-only and without third_party beside them as in the module cache, and the environment that the
// install script prints.
func TestExamplesFromAnotherModule(t *testing.T) {
	root, err := os.Getwd()
	require.NoError(t, err)
	sources := filepath.Join(t.TempDir(), "goclip")
	copySources(t, root, sources)

	user := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(user, name), []byte(text), 0o644))
	}
	gomod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	gosum, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	text := strings.Replace(string(gomod), "module github.com/goclip/goclip", "module example.com/user", 1)
	write("go.mod", text+"\nrequire github.com/goclip/goclip v0.0.0\n\nreplace github.com/goclip/goclip => "+sources+"\n")
	write("go.sum", string(gosum))
	require.NoError(t, os.CopyFS(user, os.DirFS("examples")))

	elsewhere := linkLibtorch(t, root)
	command := func(args ...string) *exec.Cmd {
		install := filepath.Join(root, "scripts", "install_libtorch.sh")
		command := exec.Command("bash", append([]string{"-ec", `eval "$("$1" --print-env --prefix "$2")"; shift 2; exec "$@"`, "bash", install, elsewhere}, args...)...)
		command.Dir = user
		command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		return command
	}
	run := func(args ...string) string {
		out, err := command(args...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
		return string(out)
	}
	run("go", "build", "-o", "bin/", "./...")

	assert.Regexp(t, `racing_car\.png 0\.\d+\n$`, run("bin/search", filepath.Join(root, "data", "demo"), "a racing car"))
	for _, program := range []string{"loop", "dualencoder", "mlp"} {
		losses := lossesIn(t, run("bin/"+program))
		assert.Less(t, losses[len(losses)-1], losses[0]/2, "%s: %v", program, losses)
	}
	tuned := filepath.Join(t.TempDir(), "tuned")
	out := run("bin/finetune", filepath.Join(root, "data", "demo"), tuned)
	assert.Regexp(t, `step 3 loss \d\.\d+ learning rate [\d.]+e-0[56]\n$`, out, "the rates of fine-tuning")
	assert.FileExists(t, filepath.Join(tuned, "open_clip_model.safetensors"))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	server := command("bin/handler", address)
	require.NoError(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	dog, err := os.ReadFile(filepath.Join(root, "data", "demo", "dog.png"))
	require.NoError(t, err)
	var answer *http.Response
	require.Eventually(t, func() bool {
		answer, err = http.Post("http://"+address, "image/png", bytes.NewReader(dog))
		return err == nil
	}, time.Minute, 100*time.Millisecond)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	assert.Contains(t, string(body), `"label":"dog"`)
}

func lossesIn(t *testing.T, out string) (losses []float64) {
	t.Helper()
	for _, found := range regexp.MustCompile(`loss (\d+\.\d+)`).FindAllStringSubmatch(out, -1) {
		loss, err := strconv.ParseFloat(found[1], 64)
		require.NoError(t, err)
		losses = append(losses, loss)
	}
	require.NotEmpty(t, losses, out)
	return losses
}

// TestExamplesAreShort counts the lines of code behind the imports: those of programs that docs/library.md promises to be
// short.
func TestExamplesAreShort(t *testing.T) {
	for program, most := range map[string]int{"search": 25, "finetune": 30, "loop": 40} {
		text, err := os.ReadFile(filepath.Join("examples", program, "main.go"))
		require.NoError(t, err)
		_, code, found := strings.Cut(string(text), "\n)\n")
		require.True(t, found, program)
		lines := 0
		for line := range strings.Lines(code) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				lines++
			}
		}
		assert.LessOrEqual(t, lines, most, program)
	}
}

// TestLibraryPage holds the programs that docs/library.md quotes against examples/.
func TestLibraryPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "library.md"))
	require.NoError(t, err)
	for _, program := range []string{"search", "finetune", "loop", "mlp", "handler"} {
		text, err := os.ReadFile(filepath.Join("examples", program, "main.go"))
		require.NoError(t, err)
		assert.Contains(t, string(page), "```go\n"+string(text)+"```\n", program)
	}
}
