package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
)

// systemd is the socket that NOTIFY_SOCKET names.
type systemd struct{ *net.UnixConn }

func newSystemd(t *testing.T) (d systemd, path string) {
	path = filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return systemd{c}, path
}

// expect reads messages until one begins with state, and gives it.
func (d systemd) expect(t *testing.T, state string) string {
	t.Helper()
	require.NoError(t, d.SetReadDeadline(time.Now().Add(30*time.Second)))
	data := make([]byte, 4096)
	for {
		n, err := d.Read(data)
		require.NoError(t, err, "no %s", state)
		if strings.HasPrefix(string(data[:n]), state) {
			return string(data[:n])
		}
	}
}

// TestServeSystemd starts the server by its first connection, as a socket unit does, and reads what
// it notifies.
func TestServeSystemd(t *testing.T) {
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("systemd-socket-activate is not installed")
	}
	d, path := newSystemd(t)
	port, said := campaign.FreePort(t), &bytes.Buffer{}
	cmd := exec.Command(activate, "-l", "127.0.0.1:"+port, "-E", asCommand+"=1", "-E", "NOTIFY_SOCKET="+path, "-E", "WATCHDOG_USEC=100000",
		os.Args[0], "serve", "--addr", "127.0.0.1:1") // which the passed socket replaces
	cmd.Stderr = said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var answer *http.Response
	require.Eventually(t, func() bool {
		answer, err = http.Get("http://127.0.0.1:" + port + "/healthz")
		return err == nil
	}, 30*time.Second, 50*time.Millisecond)
	answer.Body.Close()
	assert.Equal(t, 200, answer.StatusCode)
	d.expect(t, "READY=1")
	d.expect(t, "WATCHDOG=1")
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	assert.Contains(t, d.expect(t, "RELOADING=1"), "MONOTONIC_USEC=")
	d.expect(t, "READY=1")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	d.expect(t, "STOPPING=1")
	require.NoError(t, cmd.Wait(), said)
	assert.Contains(t, said.String(), "http://127.0.0.1:"+port)
	assert.Contains(t, said.String(), "requests were answered")
}
