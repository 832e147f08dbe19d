package pretrained

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goclip/goclip/internal/disk"
)

const (
	sha256Digits = 2 * sha256.Size
	gitDigits    = 2 * sha1.Size // of the hash by which the hub knows small files
)

// isHash reports whether s may be the name of a blob.
func isHash(s string) bool { return isSHA256(s) || isGit(s) }

func isGit(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha1.Size && s == strings.ToLower(s)
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && s == strings.ToLower(s)
}

// record says that a file was hashed. While size and time stand, its bytes are not read again: 605
// MB take longer to hash than to open.
type record struct {
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
	SHA256   string `json:"sha256"`
}

// check answers for the file at p, hashing it if no record does. A file that changed since its
// record was written, or that has not the hash it must have, is an error that says so;
// fs.ErrNotExist is inside the one for no file.
func (f *finder) check(ctx context.Context, p place) (File, error) {
	info, err := os.Stat(p.path)
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("%s is not a regular file", p.path)
	}
	if info.Size() == 0 {
		return File{}, fmt.Errorf("%s is empty", p.path)
	}
	old := readRecord(p.record)
	file := File{Path: p.path, Size: info.Size(), Sum: old.SHA256, Origin: p.origin}
	seen := old.Size == info.Size() && old.Modified == info.ModTime().UnixNano()
	if seen && (len(p.hash) == gitDigits || strings.HasPrefix(old.SHA256, p.hash)) {
		return file, nil
	}
	if file.Sum, err = sumFile(ctx, p.path); err != nil {
		return File{}, err
	}
	want := cmp.Or(p.hash, old.SHA256)
	kind, got, err := mismatch(ctx, p.path, file.Sum, want)
	if err != nil {
		return File{}, err
	}
	if kind != "" {
		says := fmt.Sprintf("%s is damaged: its %s begins with %s and should begin with %s", p.path, kind, got[:8], want[:8])
		if p.hash == "" {
			says += fmt.Sprintf(" (if you replaced it, delete %s)", p.record)
		}
		return File{}, marked{errors.New(says), ErrChecksum}
	}
	f.remember(p, file)
	return file, nil
}

// mismatch gives the kind of the file's hash, and the hash, if it is not the expected one; sum is its
// SHA-256.
func mismatch(ctx context.Context, name, sum, want string) (kind, got string, err error) {
	if len(want) != gitDigits {
		if strings.HasPrefix(sum, want) {
			return "", "", nil
		}
		return "SHA-256", sum, nil
	}
	git, plain, err := sumGit(ctx, name)
	if err != nil || git == want || plain == want { // some mirrors name a file by its plain SHA-1
		return "", "", err
	}
	return "SHA-1 as git has it", git, nil
}

// remember writes the record of a file that was checked. A file whose record cannot be written is
// still good.
func (f *finder) remember(p place, file File) {
	if p.record == "" {
		return
	}
	info, err := os.Stat(file.Path)
	if err == nil {
		err = writeJSON(p.record, record{file.Path, info.Size(), info.ModTime().UnixNano(), file.Sum})
	}
	if err != nil {
		f.Log(fmt.Sprintf("%s will be hashed again at the next start: %v", file.Path, err))
	}
}

// readRecord gives the zero record where there is none that makes sense: the file is then hashed.
func readRecord(name string) record {
	var r record
	data, err := os.ReadFile(name)
	if err != nil || json.Unmarshal(data, &r) != nil || !isSHA256(r.SHA256) {
		return record{}
	}
	return r
}

func writeJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeWhole(name, data)
}

// writeWhole writes data under name at once or not at all, and makes the directory.
func writeWhole(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return disk.WriteFile(disk.Machine{}, name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

func sumFile(ctx context.Context, name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if err := feed(ctx, sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// sumGit gives the SHA-1 of a file as git computes it, over a header and the bytes, and the one of
// the bytes alone.
func sumGit(ctx context.Context, name string) (git, plain string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return "", "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", "", err
	}
	blob, bytes := sha1.New(), sha1.New()
	fmt.Fprintf(blob, "blob %d\x00", info.Size())
	if err := feed(ctx, io.MultiWriter(blob, bytes), file); err != nil {
		return "", "", err
	}
	return hex.EncodeToString(blob.Sum(nil)), hex.EncodeToString(bytes.Sum(nil)), nil
}

// feed hashes all of r, and stops when ctx does.
func feed(ctx context.Context, sum io.Writer, r io.Reader) error {
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		_, _ = sum.Write(buf[:n]) // a hash never fails
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
