package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// setting is a flag's value as a file or the environment gives it.
type setting struct{ flag, value, from string }

// onlyFlags are not for files and the environment.
var onlyFlags = strings.Fields("help version completion man config")

// withSettings puts before a command line what the environment says, and before that what the file
// of --config says: what comes later wins. ambient are the flags that the environment alone gives.
func withSettings(args []string, environ []string) (complete, ambient []string, err error) {
	var all []setting
	if name := configFile(args, environ); name != "" {
		settings, err := readConfig(name)
		if err != nil {
			return nil, nil, fmt.Errorf("--config: %w", err)
		}
		all = settings
	}
	parser, err := newParser(&commandLine{}, io.Discard, io.Discard, func(int) {})
	if err != nil {
		return nil, nil, err
	}
	named := func(s setting) bool {
		return slices.ContainsFunc(all, func(other setting) bool { return other.flag == s.flag })
	}
	around := fromEnvironment(parser, environ)
	for _, s := range around {
		onLine := slices.ContainsFunc(args, func(a string) bool { return a == "--"+s.flag || strings.HasPrefix(a, "--"+s.flag+"=") })
		if !named(s) && !onLine {
			ambient = append(ambient, s.flag)
		}
	}
	all = append(all, around...)
	var faults []error
	var before []string
	for _, s := range all {
		if err := s.check(parser); err != nil {
			faults = append(faults, err)
		}
		before = append(before, "--"+s.flag+"="+s.value)
	}
	return append(before, args...), ambient, errors.Join(faults...)
}

// check says what is wrong with one setting alone, a flag that is not known with the one that may
// be meant.
func (s setting) check(parser *kong.Kong) error {
	if slices.Contains(onlyFlags, s.flag) {
		return fmt.Errorf("%s: --%s must be given on the command line", s.from, s.flag)
	}
	if _, known := openCLIPOnly[s.flag]; known {
		return nil
	}
	if _, err := parser.Parse([]string{"--" + s.flag + "=" + s.value}); err != nil {
		return fmt.Errorf("%s: %s", s.from, strings.ReplaceAll(oneLine(err), `"--`, `"`))
	}
	return nil
}

// configFile is the last --config of a command line, or GOCLIP_CONFIG.
func configFile(args, environ []string) (name string) {
	for _, e := range environ {
		if value, ok := strings.CutPrefix(e, variable("config")+"="); ok {
			name = value
		}
	}
	for i, a := range args {
		if value, ok := strings.CutPrefix(a, "--config="); ok {
			name = value
		} else if a == "--config" && i+1 < len(args) {
			name = args[i+1]
		}
	}
	return name
}

// variable is the environment variable of a flag.
func variable(flag string) string {
	return "GOCLIP_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment are the flags that the environment gives, in the parser's order.
func fromEnvironment(parser *kong.Kong, environ []string) (all []setting) {
	values := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	for _, f := range parser.Model.Flags {
		if value := values[variable(f.Name)]; value != "" && !slices.Contains(onlyFlags, f.Name) {
			all = append(all, setting{f.Name, value, variable(f.Name)})
		}
	}
	return all
}

// withoutSettings is an environment for processes whose command line has all.
func withoutSettings(environ []string, parser *kong.Kong) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.ContainsFunc(parser.Model.Flags, func(f *kong.Flag) bool { return variable(f.Name) == name })
	})
}

// newParser reads command lines into c.
func newParser(c *commandLine, out, errs io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(c, kong.Name("train"), kong.Description(description), kong.Writers(out, errs), kong.Exit(exit),
		kong.Vars{"version": version()}, helpGroups, kong.WithHyphenPrefixedParameters(true)) // --warmup -1
}
