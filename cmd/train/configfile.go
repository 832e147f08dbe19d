package main

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/goclip/goclip/clip/preprocess"
)

// maxConfig bounds a file of flags, in bytes.
const maxConfig = 1 << 20

// readConfig reads a YAML file of flags: a mapping of their names to a value each, or to a list,
// which is joined as the flag expects it.
func readConfig(name string) (all []setting, err error) {
	f, size, err := preprocess.OpenRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxConfig {
		return nil, fmt.Errorf("%s has %d bytes; a file of flags must have at most %d", name, size, maxConfig)
	}
	text := make([]byte, size)
	if _, err := f.ReadAt(text, 0); err != nil && size > 0 {
		return nil, err
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) {
			return nil, fmt.Errorf("%s line %d: %s", name, at.GetToken().Position.Line, at.GetMessage())
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, doc := range file.Docs {
		var pairs []*ast.MappingValueNode
		switch body := doc.Body.(type) {
		case nil, *ast.NullNode, *ast.CommentGroupNode:
		case *ast.MappingNode:
			pairs = body.Values
		case *ast.MappingValueNode:
			pairs = []*ast.MappingValueNode{body}
		default:
			return nil, fmt.Errorf("%s: must be flags with their values, such as batch-size: 64", name)
		}
		for _, p := range pairs {
			flag := strings.TrimLeft(p.Key.GetToken().Value, "-")
			from := fmt.Sprintf("%s line %d", name, p.Key.GetToken().Position.Line)
			if i := slices.IndexFunc(all, func(s setting) bool { return s.flag == flag }); i >= 0 {
				return nil, fmt.Errorf("%s: %s is there already, in %s", from, flag, all[i].from)
			}
			value, given, err := textOf(flag, p.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", from, flag, err)
			}
			if given {
				all = append(all, setting{flag, value, from})
			}
		}
	}
	return all, nil
}

// textOf is a value as the command line has it; given is false for null.
func textOf(flag string, n ast.Node) (text string, given bool, err error) {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return "", false, nil
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), true, nil
	case *ast.StringNode:
		return n.Value, true, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true, nil
	case *ast.SequenceNode:
		var parts []string
		for _, v := range n.Values {
			part, _, err := textOf(flag, v)
			if err != nil {
				return "", false, err
			}
			parts = append(parts, part)
		}
		by := " "
		if flag == "train-data" || flag == "val-data" || flag == "train-data-upsampling-factors" {
			by = "::"
		}
		return strings.Join(parts, by), true, nil
	}
	return "", false, errors.New("must be a value or a list of values")
}

// configName is the file that a run writes with all its flags.
const configName = "config.yaml"

// configText are the flags of a run as --config reads them, but for those of a sitting.
func (o *options) configText() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Flags of the run %s, by %s.\n# train --config FILE repeats it under a new name; with --resume latest --name %s it resumes.\n", o.Name, version(), o.Name)
	v := reflect.ValueOf(*o)
	for i := range v.NumField() {
		flag := v.Type().Field(i).Tag.Get("name")
		if slices.Contains([]string{"resume", "name", "dry-run", "overfit"}, flag) {
			continue
		}
		value := v.Field(i).Interface()
		if m, ok := value.(encoding.TextMarshaler); ok {
			text, err := m.MarshalText()
			if err != nil {
				return nil, err
			}
			value = string(text)
		}
		if value == "" {
			continue
		}
		line, err := yaml.Marshal(yaml.MapSlice{{Key: flag, Value: value}})
		if err != nil {
			return nil, err
		}
		b.Write(line)
	}
	return b.Bytes(), nil
}

// kept are the small files that stand beside params.txt and in each checkpoint.
func (o *options) kept() (map[string][]byte, error) {
	text, err := o.configText()
	return map[string][]byte{configName: text}, err
}
