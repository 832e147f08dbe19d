package pretrained

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProgressAndCancel(t *testing.T) {
	cache := machine(t)
	half := len(data) / 2
	s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n > 1 {
			whole(w, r, data)
			return
		}
		w.Header().Set("ETag", `"`+sumOf(data)[:20]+`"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:half])
		_ = http.NewResponseController(w).Flush()
		untilGone(r)
	})
	t.Setenv("GOCLIP_MIRROR", s.URL)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []Progress
	o := Options{Progress: func(p Progress) {
		seen = append(seen, p)
		if p.Done == int64(half) {
			cancel() // as Ctrl-C does
		}
	}}
	_, err := get(t, ctx, o, own(data))
	require.ErrorIs(t, err, context.Canceled)
	part := filepath.Join(cache, "m", "t", "w.pt.part")
	assert.Contains(t, err.Error(), fmt.Sprintf("stopped; %d bytes of w.pt are kept in %s and the next run resumes there", half, part))

	f, err := get(t, t.Context(), o, own(data))
	require.NoError(t, err)
	requireFile(t, f, data)
	assert.Equal(t, fmt.Sprintf("bytes=%d-", half), s.requests()[1].rang)
	assert.IsNonDecreasing(t, doneOf(seen))
	last := seen[len(seen)-1]
	assert.Equal(t, Progress{"w.pt", strings.TrimPrefix(s.URL, "http://"), int64(len(data)), int64(len(data))}, last)
}

func doneOf(seen []Progress) []int64 {
	var out []int64
	for _, p := range seen {
		out = append(out, p.Done)
	}
	return out
}

// TestPartsAreResumed takes up what an earlier run left, or nothing where that cannot be the file.
func TestPartsAreResumed(t *testing.T) {
	for _, c := range []struct {
		name   string
		left   []byte
		file   []byte
		ranges []string // of the requests
	}{
		{"all but its name", data, data, nil}, // nothing is asked for, and the hash is still checked
		{"one byte", data[:1], data, []string{"bytes=1-"}},
		{"longer than its file", data[:2], data[:1], []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := machine(t)
			s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, c.file) })
			t.Setenv("GOCLIP_MIRROR", s.URL)
			part := filepath.Join(cache, "m", "t", "w.pt.part")
			write(t, part, c.left)
			write(t, part+".json", fmt.Appendf(nil, `{"etag":"\"%s\"","size":%d}`, sumOf(c.file)[:20], len(c.file)))
			f, err := get(t, t.Context(), impatient(&notes{}), own(c.file))
			require.NoError(t, err)
			requireFile(t, f, c.file)
			var ranges []string
			for _, a := range s.requests() {
				ranges = append(ranges, a.rang)
			}
			assert.Equal(t, c.ranges, ranges)
		})
	}
}

// Parts that nothing good is known of are fetched again.
func TestStrangeParts(t *testing.T) {
	for name, notesJSON := range map[string]string{
		"no notes": "", "no JSON": "{", "larger than the file": `{"etag":"\"x\"","size":10}`, "another file": `{"etag":"\"x\"","size":300000}`,
	} {
		t.Run(name, func(t *testing.T) {
			cache := machine(t)
			s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
			t.Setenv("GOCLIP_MIRROR", s.URL)
			part := filepath.Join(cache, "m", "t", "w.pt.part")
			write(t, part, other[:5000])
			if notesJSON != "" {
				write(t, part+".json", []byte(notesJSON))
			}
			f, err := get(t, t.Context(), impatient(&notes{}), own(data))
			require.NoError(t, err)
			requireFile(t, f, data)
		})
	}
	for _, n := range []int{1, 5000} { // neither the last run nor the table knows what the bytes are of
		machine := machine(t)
		s := serve(t, func(w http.ResponseWriter, r *http.Request, n int) { whole(w, r, data) })
		t.Setenv("GOCLIP_MIRROR", s.URL)
		part := filepath.Join(machine, "m", "t", "w.pt.part")
		write(t, part, other[:n])
		write(t, part+".json", []byte(`{"size":-1}`))
		file := own(data)
		file.hash = ""
		f, err := get(t, t.Context(), impatient(&notes{}), file)
		require.NoError(t, err)
		requireFile(t, f, data)
		require.Len(t, s.requests(), 1)
		assert.Empty(t, s.requests()[0].rang)
	}
	t.Run("a directory", func(t *testing.T) {
		cache := machine(t)
		t.Setenv("GOCLIP_MIRROR", "http://127.0.0.1:1")
		part := filepath.Join(cache, "m", "t", "w.pt.part")
		write(t, filepath.Join(part, "x"), data)
		_, err := get(t, t.Context(), impatient(&notes{}), own(data))
		require.ErrorContains(t, err, part+": is a directory")
	})
}
