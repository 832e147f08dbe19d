package main

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkSearch is a query of new words: as a request to a running server, as a command that asks
// one, and as a command that opens the model.
func BenchmarkSearch(b *testing.B) {
	at := filepath.Join(b.TempDir(), "index")
	out, err := process("index", "--out", at, filepath.Join("..", "..", "data", "demo")).CombinedOutput()
	require.NoError(b, err, "%s", out)
	asked := 0
	words := func() string { asked++; return fmt.Sprintf("a racing car, number %d", asked) }
	command := func(b *testing.B) {
		for b.Loop() {
			out, err := process("search", "--index", at, words()).CombinedOutput()
			require.NoError(b, err, "%s", out)
		}
	}
	b.Run("command without a server", command)
	s := begin(b, "--index", at)
	b.Run("command", command)
	b.Run("request", func(b *testing.B) {
		for b.Loop() {
			answer, err := http.Post(s.at+"/v1/search", "application/json", strings.NewReader(`{"text":"`+words()+`"}`))
			require.NoError(b, err)
			_, err = io.Copy(io.Discard, answer.Body)
			require.NoError(b, err)
			answer.Body.Close()
			require.Equal(b, http.StatusOK, answer.StatusCode)
		}
	})
	b.Run("start of the program", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, process("--version").Run())
		}
	})
	s.end(b)
}
