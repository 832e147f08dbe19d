package main

import (
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/goclip/goclip/cmd/internal/manual"
)

type completionCmd struct {
	Shell string `arg:"" help:"bash, zsh or fish." enum:"bash,zsh,fish"`
}

func (*completionCmd) Help() string {
	return `Examples:

  source <(infer completion bash)                                     for this shell
  infer completion bash > ~/.local/share/bash-completion/completions/infer
  infer completion zsh > "${fpath[1]}/_infer"
  infer completion fish > ~/.config/fish/completions/infer.fish
  train --completion bash > ~/.local/share/bash-completion/completions/train`
}

func (c *completionCmd) Run(io *streams, app *kong.Application) error {
	_, err := fmt.Fprint(io.out, manual.Completion(c.Shell, app, manual.CLIPWords()))
	return err
}

// manCmd is what make man calls.
type manCmd struct{}

func (*manCmd) Run(io *streams, app *kong.Application) error {
	_, err := fmt.Fprint(io.out, manual.Page(app, manual.About{
		Summary: "compare, label, search and serve images with CLIP", Version: version(), Date: manual.BuildDate(),
		Exit: []manual.Entry{
			{Name: "0", Text: "Done."},
			{Name: "1", Text: "Something failed while running: an image could not be read, and the others were done; or what stderr says."},
			{Name: "2", Text: "The command line is wrong."},
			{Name: "130", Text: "Interrupted; stderr says what is there."},
		},
		Environment: append(manual.CacheEnvironment(), manual.Entry{Name: "GOCLIP_TOKEN", Text: "The bearer token that requests to infer serve must have."}),
		Files: []manual.Entry{
			{Name: ".goclip", Text: "The index of the images around it, which infer search makes and keeps up to date."},
			{Name: "~/.cache/goclip", Text: "Fetched models, and the features of prompts. It may be deleted at any time."},
		},
		SeeAlso: []string{"train(1)"},
	}))
	return err
}
