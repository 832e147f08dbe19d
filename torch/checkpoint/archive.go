package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// parseArchive reads what torch.save and torch.jit.save have written since PyTorch 1.6: a zip archive with one folder
// of any name, in it data.pkl and the storages as data/KEY (caffe2/serialize/inline_container.h). constants.pkl tells
// TorchScript.
func (f *File) parseArchive(file []byte) error {
	zip, err := openZip(file)
	if err != nil {
		return err
	}
	top, err := zip.top()
	if err != nil {
		return err
	}
	if _, ok := zip[top+"byteorder"]; ok {
		order, err := zip.read(top + "byteorder")
		if err != nil {
			return err
		}
		if string(order) != "little" {
			return fmt.Errorf("its numbers are %s-endian: goclip reads little-endian files", printable(string(order)))
		}
	}
	pickle, err := zip.read(top + "data.pkl")
	if err != nil {
		return err
	}
	_, script := zip[top+"constants.pkl"]
	if script {
		f.format = "TorchScript"
	}
	left := pickleMemory
	u := unpickler{in: pickle, left: &left, classes: script, load: func(id tuple) (*storage, error) {
		s, err := newStorage(id)
		if err != nil {
			return nil, err
		}
		if s.data, err = zip.read(top + "data/" + s.key); err != nil {
			return nil, err
		}
		if have := int64(len(s.data)); have < s.size || have-s.size >= int64(max(1, s.dtype.Size())) {
			return nil, fmt.Errorf("the storage %s has %d bytes, where its pickle says %d", printable(s.key), have, s.size)
		}
		return s, nil
	}}
	root, err := u.run()
	if err != nil {
		return err
	}
	if u.pos != len(pickle) {
		return fmt.Errorf("%d bytes follow the pickle in data.pkl", len(pickle)-u.pos)
	}
	return f.weights(root, len(file), &left)
}

// top is the archive's folder, with its slash.
func (a archive) top() (string, error) {
	var found []string
	for name := range a {
		if folder, ok := strings.CutSuffix(name, "/data.pkl"); ok && !strings.Contains(folder, "/") {
			found = append(found, folder+"/")
		}
	}
	switch len(found) {
	case 0:
		return "", errors.New("the zip archive holds no data.pkl in its folder: torch.save did not write it")
	case 1:
		return found[0], nil
	default:
		return "", fmt.Errorf("the zip archive holds %d checkpoints in as many folders", len(found))
	}
}

// newStorage reads the reference ("storage", type, key, location, elements) that torch.save puts in place of a storage.
// Where the tensor lived (location) is of no matter here.
func newStorage(id tuple) (*storage, error) {
	if len(id) < 5 || id[0] != "storage" {
		return nil, errors.New("its pickle refers to something that is no storage")
	}
	kind, ok := id[1].(*global)
	key, okKey := id[2].(string)
	count, okCount := id[4].(int64)
	if !ok || !okKey || !okCount || kind.call != nil || !strings.HasSuffix(kind.name, "Storage") {
		return nil, errors.New("its pickle refers to a storage in an unknown way")
	}
	size := int64(max(1, kind.dtype.Size()))
	if count < 0 || count > math.MaxInt64/size {
		return nil, fmt.Errorf("the storage %s has %d elements", printable(key), count)
	}
	return &storage{key: key, dtype: kind.dtype, size: count * size}, nil
}
