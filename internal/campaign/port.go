package campaign

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// FreePort returns a TCP port for a program that cannot be told to listen on port 0. It is below
// those that the system gives to connections (32768 and above on Linux), and no other test has it
// until this one ends: a locked file says whose it is.
func FreePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(12000)
		lock, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("goclip-test-port-%d", port)), os.O_CREATE|os.O_RDWR, 0o600)
		require.NoError(t, err)
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil && unused(port) {
			t.Cleanup(func() {
				_ = os.Remove(lock.Name())
				_ = lock.Close()
			})
			return strconv.Itoa(port)
		}
		_ = lock.Close()
	}
	t.Fatal("100 ports are in use")
	return ""
}

func unused(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	return err == nil && l.Close() == nil
}
