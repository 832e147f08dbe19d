package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
)

type tokenizeCmd struct {
	modelFlags
}

func (*tokenizeCmd) Help() string {
	return `Examples:

  echo "a photo of a dog" | infer tokenize
  infer tokenize --model ViT-B-16-SigLIP --pretrained webli < captions.txt`
}

func (c *tokenizeCmd) Run(ctx context.Context, io *streams) error {
	if c.Device == "auto" {
		c.Device = "cpu" // opening CUDA takes seconds, and ids are made without it
	}
	o, err := c.options(io.err)
	if err != nil {
		return err
	}
	t, length, err := clip.OpenTokenizer(ctx, cmp.Or(c.Model, models.Default), o) // of the built-in model: its built-in config's
	if err != nil {
		return err
	}
	scanner := newScanner(io.in)
	out := bufio.NewWriter(io.out)
	for scanner.Scan() {
		ids, cut := t.Tokenize(scanner.Text(), length)
		if cut {
			fmt.Fprintf(io.err, "infer: the text %q is longer than the model's %d tokens: its end is cut off\n", scanner.Text(), length)
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
