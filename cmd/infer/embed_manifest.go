package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/internal/disk"
)

// manifestFile says of a directory of parts what they are made of and with what.
const manifestFile = "embed.json"

type manifest struct {
	Model     index.Model `json:"model"`
	Precision string      `json:"precision"`
	Raw       bool        `json:"raw"`
	Captions  bool        `json:"captions"`
	PartSize  int         `json:"part_size"`
	Parts     int         `json:"parts"`
	Inputs    string      `json:"inputs"` // SHA-256 of names and captions; of a shard's name, size and keys
}

// readManifest is that of dir; there is none in a new one.
func readManifest(dir string) (m manifest, found bool, err error) {
	path := filepath.Join(dir, manifestFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return m, false, fmt.Errorf("%s does not tell what the parts are: %w; take another --out", path, err)
	}
	return m, true, nil
}

// claim makes dir the directory of these parts, or finds that it is. Of several processes that
// begin at once each writes the same.
func (m manifest) claim(fsys disk.FS, dir string) error {
	there, found, err := readManifest(dir)
	if err == nil && !found {
		err = disk.WriteFile(fsys, filepath.Join(dir, manifestFile), func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			return e.Encode(m)
		})
		if err == nil {
			there, _, err = readManifest(dir)
		}
	}
	if err != nil {
		return err
	}
	if what := there.differs(m); what != "" {
		return fmt.Errorf("%s holds parts of another run: %s; take another --out, or the same inputs and flags to resume", dir, what)
	}
	return nil
}

// differs says how the other run differs from m; "" if it can resume m's parts.
func (m manifest) differs(other manifest) string {
	if what := m.Model.Differs(other.Model); what != "" {
		return fmt.Sprintf("of the model %s: %s", m.Model.Name, what)
	}
	for _, flag := range []struct {
		name      string
		mine, its any
	}{{"--no-orient", !m.Model.Orient, !other.Model.Orient}, {"--precision", m.Precision, other.Precision}, {"--raw", m.Raw, other.Raw}, {"--captions", m.Captions, other.Captions}, {"--part-size", m.PartSize, other.PartSize}} {
		if flag.mine != flag.its {
			return fmt.Sprintf("it has %s %v, this one %v", flag.name, flag.mine, flag.its)
		}
	}
	if m.Inputs != other.Inputs || m.Parts != other.Parts {
		return "its inputs are others, or in another order"
	}
	return ""
}
