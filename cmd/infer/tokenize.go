package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
)

type tokenizeCmd struct {
	modelFlags
}

func (c *tokenizeCmd) Run(io *streams) error {
	m, err := c.open(io.err)
	if err != nil {
		return err
	}
	t, err := m.Tokenizer()
	if err != nil {
		return err
	}
	scanner := newScanner(io.in)
	out := bufio.NewWriter(io.out)
	for scanner.Scan() {
		ids, cut := t.Tokenize(scanner.Text(), m.ContextLength())
		if cut {
			fmt.Fprintf(io.err, "infer: the text %q is longer than the model's %d tokens: its end is cut off\n", scanner.Text(), m.ContextLength())
		}
		text, err := json.Marshal(ids)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return errors.Join(out.Flush(), scanError("stdin", err))
	}
	return out.Flush()
}
