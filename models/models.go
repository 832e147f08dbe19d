// Package models holds the model that goclip ships, as an embedded directory in open_clip's layout.
package models

import (
	"embed"
	"io/fs"
)

//go:embed emoji-64
var files embed.FS

// Default is the name of the built-in model, a directory of [FS].
const Default = "emoji-64"

// FS holds the built-in model: clip.OpenFS(ctx, models.FS(), models.Default, nil) opens it.
func FS() fs.FS { return files }
