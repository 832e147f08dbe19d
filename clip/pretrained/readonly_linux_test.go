package pretrained

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asNobody runs f on a thread that may write no other user's files. Root may write everywhere, so
// it becomes another user for the file system; the thread ends with f.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if os.Getuid() == 0 {
			_ = syscall.Setfsuid(65534)
		}
		f()
	}()
	<-done
}

// A cache that an administrator filled is used as it is; one that lacks the file gives one
// sentence.
func TestReadOnlyCache(t *testing.T) {
	cache := machine(t)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
	t.Setenv("GOCLIP_MIRROR", s.URL)
	name := filepath.Join(cache, "m", "t", "w.pt")
	write(t, name, data)
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(cache)), 0o755)) // t.TempDir's is shut to other users
	require.NoError(t, os.Chmod(filepath.Dir(name), 0o555))
	require.NoError(t, os.Chmod(cache, 0o555))
	t.Cleanup(func() { // or the directory could not be removed
		_ = os.Chmod(filepath.Dir(name), 0o755)
		_ = os.Chmod(cache, 0o755)
	})
	n := &notes{}
	var found File
	var err, missing, inside error
	asNobody(t, func() {
		found, err = newFinder(impatient(n)).findOne(t.Context(), "m t", []candidate{own(data)})
		absent := own(other)
		absent.place = "n/t/w.pt"
		_, missing = newFinder(impatient(n)).findOne(t.Context(), "n t", []candidate{absent})
		absent.place = "m/t/other.pt"
		_, inside = newFinder(impatient(n)).findOne(t.Context(), "m t", []candidate{absent})
	})
	require.NoError(t, err)
	assert.Equal(t, name, found.Path)
	assert.Contains(t, n.String(), name+" will be hashed again at the next start")
	require.ErrorContains(t, missing, "set GOCLIP_CACHE to a directory that can be written: permission denied")
	require.ErrorContains(t, inside, "cannot write "+filepath.Join(cache, "m", "t", "other.pt.part")+": set GOCLIP_CACHE to a directory that can be written")
	assert.Empty(t, s.requests(), "what cannot be kept is not fetched")
}
