package clip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
)

// The files of a model directory in Hugging Face's layout (transformers).
const (
	hfConfigFile     = "config.json"
	hfPreprocessFile = "preprocessor_config.json"
	hfProcessorFile  = "processor_config.json" // holds the former since transformers 5, if a processor was saved whole
)

// readHuggingFacePreprocess is how a Hugging Face directory prepares images; ok is false where it does not say.
func readHuggingFacePreprocess(dir fs.FS) (c preprocess.Config, ok bool, err error) {
	data, err := fs.ReadFile(dir, hfPreprocessFile)
	file := hfPreprocessFile
	if errors.Is(err, fs.ErrNotExist) {
		file = hfProcessorFile
		if data, err = fs.ReadFile(dir, file); errors.Is(err, fs.ErrNotExist) {
			return c, false, nil
		}
		var whole struct {
			Image json.RawMessage `json:"image_processor"`
		}
		if err == nil {
			err = json.Unmarshal(data, &whole)
		}
		if data = whole.Image; err == nil && len(data) == 0 {
			return c, false, nil
		}
	}
	if err == nil {
		c, err = preprocess.ParseHuggingFace(data)
	}
	if err != nil {
		return c, false, fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "preprocess: "))
	}
	return c, true, nil
}
