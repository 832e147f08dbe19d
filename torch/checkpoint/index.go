package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

const (
	maxIndex  = 1 << 23
	maxShards = 1 << 10
)

// isIndex tells a JSON object from a safetensors file, whose first 8 bytes are a small number and so have zeros.
func isIndex(data []byte) bool {
	front := data[:min(len(data), 8)]
	return bytes.HasPrefix(bytes.TrimLeft(front, " \t\r\n"), []byte("{")) && bytes.IndexByte(front, 0) < 0
}

// openShards opens the files that the index text at path names, all in its directory, as one.
func openShards(path string, text []byte) (file *File, err error) {
	f := &File{path: path, entries: map[string]Entry{}, metadata: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}()
	where, metadata, err := parseIndex(text)
	if err != nil {
		return nil, err
	}
	shards := map[string]*File{}
	for _, name := range slices.Sorted(maps.Keys(where)) {
		shard, ok := shards[where[name]]
		if !ok {
			if shard, err = open(filepath.Join(filepath.Dir(path), where[name]), false); err != nil {
				return nil, err
			}
			shards[where[name]] = shard
			f.shards = append(f.shards, shard)
			f.format = shard.format
			maps.Copy(f.metadata, shard.metadata)
		}
		e, ok := shard.Entry(name)
		if !ok {
			return nil, fmt.Errorf("tensor %q is not in %s, where the index says it is", name, where[name])
		}
		if err := f.add(e); err != nil {
			return nil, err
		}
	}
	for _, s := range f.shards {
		for _, name := range s.names {
			if shard := filepath.Base(s.path); where[name] != shard {
				return nil, fmt.Errorf("tensor %q in %s is listed elsewhere, or not at all", name, shard)
			}
		}
	}
	maps.Copy(f.metadata, metadata)
	return f, nil
}

// parseIndex reads the shard of each tensor and the index's own metadata.
func parseIndex(text []byte) (where, metadata map[string]string, err error) {
	if len(text) > maxIndex {
		return nil, nil, fmt.Errorf("an index of shards must have at most %d bytes", maxIndex)
	}
	metadata = map[string]string{}
	err = eachField(text, func(name string, d *json.Decoder) error {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		switch name {
		case "weight_map":
			if where != nil {
				return errors.New("its weight_map is given twice")
			}
			where, err = parseWeightMap(raw)
			return err
		case "metadata":
			var all map[string]any
			if len(raw) > maxMetadata/64 {
				return errors.New("its metadata is too long")
			}
			numbers := json.NewDecoder(bytes.NewReader(raw))
			numbers.UseNumber() // total_size has more digits than a float64 prints
			if err := numbers.Decode(&all); err != nil {
				return fmt.Errorf("its metadata: %w", err)
			}
			for key, v := range all {
				switch v.(type) {
				case string, bool, json.Number:
					metadata[key] = fmt.Sprint(v)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("it is not the JSON of an index of shards: %w", err)
	}
	if len(where) == 0 {
		return nil, nil, errors.New("it is JSON without a weight_map: neither weights nor an index of shards")
	}
	return where, metadata, nil
}

func parseWeightMap(text []byte) (map[string]string, error) {
	where, shards := map[string]string{}, map[string]string{}
	err := eachField(text, func(name string, d *json.Decoder) error {
		var shard string
		if err := decodeBounded(d, &shard, maxHeaderEntry); err != nil {
			return err
		}
		if _, twice := where[name]; twice {
			return fmt.Errorf("tensor %q is listed twice", name)
		}
		if len(where) == maxTensors {
			return fmt.Errorf("it lists more than %d tensors", maxTensors)
		}
		if _, known := shards[shard]; !known {
			if shard == "" || shard == "." || shard == ".." || strings.Contains(shard, "/") || strings.Contains(shard, "\\") || strings.ContainsFunc(shard, unicode.IsControl) {
				return fmt.Errorf("tensor %q lies in %q, which is not a name of a file in the index's directory", name, shard)
			}
			if len(shards) == maxShards {
				return fmt.Errorf("it names more than %d files", maxShards)
			}
			shards[shard] = shard
		}
		where[name] = shards[shard]
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("its weight_map: %w", err)
	}
	return where, nil
}
