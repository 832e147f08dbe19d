package data

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/corpus"
)

// latin1 is the bytes that stand in a string a byte a character.
func latin1(s string) string {
	var b strings.Builder
	for _, c := range s {
		b.WriteByte(byte(c))
	}
	return b.String()
}

// TestAsPandas reads what testdata/data/make_tables.py had pandas' C parser read.
func TestAsPandas(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("..", "..", "testdata", "data", "pandas_tables.json"))
	require.NoError(t, err)
	var tables []struct {
		Table, Sep, Error string
		Rows              [][]string
		OpenCLIP          [][]string `json:"open_clip"`
	}
	require.NoError(t, json.Unmarshal(golden, &tables))
	require.Greater(t, len(tables), 600)
	beside, besideOpenCLIP := corpus.Tally{Beside: "pandas"}, corpus.Tally{Beside: "open_clip"}
	for _, c := range tables {
		rows, err := rowsOf(t, latin1(c.Table), rune(c.Sep[0]))
		if c.Error != "" {
			o, why := corpus.BothRefuse, ""
			if err == nil {
				o, why = corpus.OnlyHere, foreign(c.Table)
			}
			beside.Add(t, "tables", c.Table, o, why)
			besideOpenCLIP.Add(t, "tables", c.Table, o, why)
			continue
		}
		require.NoError(t, err, "%q", c.Table)
		assert.Equal(t, c.Rows, rows, "%q", c.Table)
		beside.Add(t, "tables", c.Table, corpus.Equal, "")
		o, why := corpus.Equal, ""
		if c.OpenCLIP == nil {
			o, why = corpus.OnlyHere, "it has no columns f and t, which open_clip was told to take"
		} else if !slices.EqualFunc(c.OpenCLIP, rows, slices.Equal) {
			o, why = corpus.Differs, guessed(c.OpenCLIP, rows)
		}
		besideOpenCLIP.Add(t, "tables", c.Table, o, why)
	}
	beside.Log(t)
	besideOpenCLIP.Log(t)
}

// foreign is why a table is read that pandas refuses: it is UTF-16 or has a NUL in each other byte.
func foreign(table string) string {
	if strings.Contains(table, "\x00") {
		return "UTF-16, which pandas must be told"
	}
	return ""
}

// guessed is why open_clip has other texts than the table: pandas takes columns for numbers, and empty and some other cells
// for missing. It is "" where a cell differs otherwise.
func guessed(theirs, ours [][]string) string {
	if len(theirs) != len(ours) {
		return ""
	}
	for i, row := range theirs {
		for j, cell := range row {
			a, errA := strconv.ParseFloat(strings.TrimSpace(cell), 64)
			b, errB := strconv.ParseFloat(strings.TrimSpace(ours[i][j]), 64)
			number := errA == nil && errB == nil && a == b
			missing := cell == "nan" && slices.Contains([]string{"", "NA", "N/A", "n/a", "null", "None", "nan"}, ours[i][j])
			if cell != ours[i][j] && !number && !missing {
				return ""
			}
		}
	}
	return "pandas guesses types for open_clip: 007 is 7, and NA or nothing is nan; here a caption is the text that stands there"
}

// rowsOf reads a table of two columns, as readCSV does, and gives all rows.
func rowsOf(t *testing.T, table string, separator rune) (rows [][]string, err error) {
	in, err := newText(strings.NewReader(table), "")
	require.NoError(t, err)
	r := &csvRows{text: in, separator: separator}
	if _, err := r.next(); err != nil {
		return nil, err
	}
	for rows = [][]string{}; ; {
		fields, err := r.next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		if len(fields) > 2 {
			return nil, errors.New("too many fields")
		}
		row := make([]string, 2)
		for i, f := range fields {
			row[i] = string(f)
		}
		rows = append(rows, row)
	}
}
