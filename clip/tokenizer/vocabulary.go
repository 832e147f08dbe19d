package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// maxFile bounds each file: the largest of a supported model, SigLIP 2's, has 34 MB.
const maxFile = 64 << 20

// readFile reads a vocabulary's file whole, but no file above maxFile.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	tooLarge := fmt.Errorf("%s is larger than %d MiB, which no vocabulary is", path, maxFile>>20)
	if info, err := f.Stat(); err == nil && info.Size() > maxFile {
		return nil, tooLarge
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = tooLarge
	}
	return data, err
}

// vocabularyFiles is a byte-pair vocabulary as Hugging Face's files hold it.
type vocabularyFiles struct {
	pieces []string
	merges [][2]string
	pad    string // the files' own, or ""
}

// frame finds the ids of the frame's tokens.
func (v *vocabularyFiles) frame(start, end, pad string) (f frame, err error) {
	for _, t := range []struct {
		token string
		id    *int64
	}{{start, &f.start}, {end, &f.end}, {pad, &f.pad}} {
		*t.id = -1
		for id, piece := range v.pieces {
			if piece == t.token {
				*t.id = int64(id)
			}
		}
		if *t.id < 0 {
			return f, fmt.Errorf("the vocabulary lacks the special token %q", t.token)
		}
	}
	return f, nil
}

// readVocab reads vocab.json: an object of pieces and their ids.
func readVocab(d *json.Decoder) ([]string, error) {
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is not a JSON object of pieces and their ids")
	}
	ids := map[string]int{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		value, err := d.Token()
		if err != nil {
			return nil, err
		}
		piece := key.(string) // as an object's keys are
		number, _ := value.(json.Number)
		id, err := strconv.Atoi(number.String())
		switch _, twice := ids[piece]; {
		case err != nil || id < 0 || id >= maxPieces:
			return nil, fmt.Errorf("the id of %q is %.60q; an id is a whole number from 0 to %d", piece, fmt.Sprint(value), maxPieces-1)
		case twice:
			return nil, fmt.Errorf("%q stands there twice", piece)
		case len(ids) == maxPieces:
			return nil, fmt.Errorf("it has more than %d pieces", maxPieces)
		}
		ids[piece] = id
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	pieces, taken := make([]string, len(ids)), make([]bool, len(ids))
	for piece, id := range ids {
		if id >= len(ids) || taken[id] {
			return nil, fmt.Errorf("the id %d of %q is another piece's too, or leaves a gap: %d pieces have the ids 0 to %d", id, piece, len(ids), len(ids)-1)
		}
		pieces[id], taken[id] = piece, true
	}
	return pieces, nil
}

// readMerges reads merges.txt: two pieces a line, after a line that says the version.
func readMerges(text string) ([][2]string, error) {
	var merges [][2]string
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || number == 1 && strings.HasPrefix(line, "#version") {
			continue
		}
		sides, err := readMerge(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if len(merges) == maxPieces {
			return nil, fmt.Errorf("it has more than %d merges", maxPieces)
		}
		merges = append(merges, sides)
	}
	return merges, nil
}

func readMerge(line string) ([2]string, error) {
	first, second, _ := strings.Cut(line, " ")
	if first == "" || second == "" || strings.Contains(second, " ") {
		return [2]string{}, fmt.Errorf("%.60q is not a merge: two pieces with a space between them are", line)
	}
	return [2]string{first, second}, nil
}

// readBPE reads a directory's vocab.json and merges.txt.
func readBPE(vocab, merges string) (*vocabularyFiles, error) {
	data, err := readFile(vocab)
	if err != nil {
		return nil, err
	}
	v := &vocabularyFiles{}
	if v.pieces, err = readVocab(json.NewDecoder(strings.NewReader(string(data)))); err != nil {
		return nil, fmt.Errorf("%s: %w", vocab, err)
	}
	if data, err = readFile(merges); err != nil {
		return nil, err
	}
	if v.merges, err = readMerges(string(data)); err != nil {
		return nil, fmt.Errorf("%s: %w", merges, err)
	}
	return v, nil
}
