package data

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
	}
	require.NoError(t, json.Unmarshal(golden, &tables))
	require.Greater(t, len(tables), 600)
	for _, c := range tables {
		rows, err := rowsOf(t, latin1(c.Table), rune(c.Sep[0]))
		if c.Error != "" {
			assert.Error(t, err, "%q, which pandas refuses: %s", c.Table, c.Error)
			continue
		}
		require.NoError(t, err, "%q", c.Table)
		assert.Equal(t, c.Rows, rows, "%q", c.Table)
	}
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
