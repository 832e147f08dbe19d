package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
)

// recipes are the blocks of docs/serve.md in a proxy's language.
func recipes(t *testing.T, language string) (list []string) {
	page := string(readFile(t, filepath.Join("..", "..", "docs", "serve.md")))
	for _, block := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(page, -1) {
		list = append(list, block[1])
	}
	return list
}

// TestProxies runs the documentation's recipes with the real programs, where they are installed: the
// page, its search from a browser that tells no more than its Origin, and an image that was found.
func TestProxies(t *testing.T) {
	at := filepath.Join(t.TempDir(), "index")
	code, _, errs := infer(t, "", "index", "--out", at, filepath.Join("..", "..", "data", "demo"))
	require.Zero(t, code, errs)
	socket := filepath.Join(t.TempDir(), "s.sock")
	nginx, caddy, traefik := recipes(t, "nginx"), recipes(t, "caddy"), recipes(t, "yaml")
	require.Len(t, nginx, 2)
	require.Len(t, caddy, 1)
	require.Len(t, traefik, 1)
	for name, c := range map[string]struct {
		program, recipe string
		flags           []string
	}{
		"nginx, its own Host": {"nginx", nginx[0], []string{"--trusted-proxy", "127.0.0.1"}},
		"nginx, a socket":     {"nginx", nginx[1], []string{"--addr", "unix:" + socket, "--base-path", "/clip"}},
		"caddy":               {"caddy", caddy[0], []string{"--trusted-proxy", "127.0.0.1"}},
		"traefik":             {"traefik", traefik[0], []string{"--trusted-proxy", "127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			program, err := exec.LookPath(c.program)
			if err != nil {
				program, err = exec.LookPath("/usr/sbin/" + c.program)
			}
			if err != nil {
				t.Skip(c.program + " is not installed; make proxies installs it")
			}
			s := begin(t, append(c.flags, "--index", at)...)
			recipe := strings.NewReplacer("127.0.0.1:8080", strings.TrimPrefix(s.at, "http://"), "/run/goclip.sock", socket).Replace(c.recipe)
			front := "http://photos.localhost:" + proxy(t, c.program, program, recipe)
			throughProxy(t, front)
			s.end(t)
		})
	}
}

// proxy runs nginx, Caddy or Traefik with a recipe on a free port.
func proxy(t *testing.T, name, program, recipe string) (port string) {
	port, dir := campaign.FreePort(t), t.TempDir()
	var cmd *exec.Cmd
	switch name {
	case "nginx":
		require.NoError(t, os.Chmod(dir, 0o777)) // its workers may be another user's
		config := writeFile(t, dir, "nginx.conf", fmt.Appendf(nil, `
daemon off; pid %[1]s/pid; error_log %[1]s/error.log; user root;
events {}
http {
    access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
    server { listen 127.0.0.1:%[2]s; server_name photos.localhost;
%[3]s
    }
}`, dir, port, recipe))
		cmd = exec.Command(program, "-p", dir, "-c", config)
	case "traefik":
		cmd = exec.Command(program, "--entryPoints.web.address=127.0.0.1:"+port, "--providers.file.filename="+writeFile(t, dir, "clip.yaml", []byte(recipe)),
			"--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--log.level=ERROR")
	default:
		config := writeFile(t, dir, "Caddyfile", fmt.Appendf(nil, "{\n admin off\n auto_https off\n}\nhttp://photos.localhost:%s {\n%s}\n", port, recipe))
		cmd = exec.Command(program, "run", "--adapter", "caddyfile", "--config", config)
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 20*time.Second, 20*time.Millisecond, said.String())
	return port
}

// throughProxy is what a browser does, on a network without TLS, where it sends no Sec-Fetch-Site.
func throughProxy(t *testing.T, front string) {
	_, port, err := net.SplitHostPort(strings.TrimPrefix(front, "http://"))
	require.NoError(t, err)
	ask := func(method, path, body string, header ...string) (int, []byte) {
		r, err := http.NewRequest(method, "http://127.0.0.1:"+port+"/clip/"+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Host = strings.TrimPrefix(front, "http://")
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		data, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, data
	}
	var code int
	var page []byte
	require.Eventually(t, func() bool { code, page = ask("GET", "", ""); return code != 404 }, 10*time.Second, 50*time.Millisecond, "Traefik reads its file after it listens")
	require.Equal(t, 200, code, "%s", page)
	for _, link := range regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllSubmatch(page, -1) {
		code, _ := ask("GET", string(link[1]), "")
		assert.Equal(t, 200, code, "%s", link[1])
	}
	query := `{"text":"a racing car","top_k":1}`
	code, body := ask("POST", "v1/search", query, "Content-Type", "application/json", "Origin", front, "X-Goclip-Page", "1")
	require.Equal(t, 200, code, "%s", body)
	var found struct {
		Hits []struct{ Path, Image string }
	}
	require.NoError(t, json.Unmarshal(body, &found))
	require.Len(t, found.Hits, 1)
	code, picture := ask("GET", found.Hits[0].Image, "")
	assert.Equal(t, 200, code)
	assert.Equal(t, "image/png", http.DetectContentType(picture))
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "X-Goclip-Page", "1"}} {
		code, _ = ask("POST", "v1/search", query, header...)
		assert.Equal(t, 403, code)
	}
}
