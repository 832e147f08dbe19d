// Command sbom writes a CycloneDX bill of materials of a release to stdout: the Go modules that its
// programs were built from, as the programs themselves tell, and the libraries beside them.
//
//	sbom VERSION DIR < libraries
//
// DIR holds bin/ and lib/. Each line of standard input names a file of lib/, the package it is from
// and that package's version.
package main

import (
	"bufio"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom VERSION DIR < libraries")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Args[1], os.Args[2], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func write(out io.Writer, version, dir string, libraries io.Reader) error {
	programs, err := filepath.Glob(filepath.Join(dir, "bin", "*"))
	if err != nil || len(programs) == 0 {
		return fmt.Errorf("%s has no programs (%v)", filepath.Join(dir, "bin"), err)
	}
	modules := map[string]cdx.Component{}
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return fmt.Errorf("%s: %w", program, err)
		}
		modules["stdlib"] = component("stdlib", info.GoVersion, "pkg:golang/stdlib@"+info.GoVersion)
		for _, module := range info.Deps {
			if module.Replace != nil {
				module = module.Replace
			}
			modules[module.Path] = component(module.Path, module.Version, "pkg:golang/"+module.Path+"@"+module.Version)
		}
	}
	var components []cdx.Component
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		components = append(components, modules[path])
	}
	lines := bufio.NewScanner(libraries)
	for lines.Scan() {
		var file, name, of string
		if _, err := fmt.Sscan(lines.Text(), &file, &name, &of); err != nil {
			return fmt.Errorf("%q is not a library, its package and its version: %w", lines.Text(), err)
		}
		sum, err := sha256Of(filepath.Join(dir, "lib", file))
		if err != nil {
			return err
		}
		library := component(file, of, "pkg:generic/"+name+"@"+of)
		library.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}}
		components = append(components, library)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	bom := cdx.NewBOM()
	self := component("github.com/goclip/goclip", version, "pkg:golang/github.com/goclip/goclip@"+version)
	self.Type = cdx.ComponentTypeApplication
	bom.Metadata = &cdx.Metadata{Component: &self}
	bom.Components = &components
	return cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
}

func component(name, version, purl string) cdx.Component {
	return cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: purl}
}

func sha256Of(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
